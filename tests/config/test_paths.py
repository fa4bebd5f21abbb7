"""Paths on the command line: any name, raw or quoted for Hydra, is the folder of that name, and prints as a command."""

import io
import os
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from omegaconf import DictConfig, OmegaConf

from discrete_latents.config.compose import composed
from discrete_latents.config.overrides import quoted, unquoted
from discrete_latents.config.paths import (
    hydra_value,
    path_argument,
    quote_paths,
    set_from_start,
    verbatim,
)
from discrete_latents.config.printed_command import command, setting

NAMES = [
    *(
        "a=b",
        "a,b",
        "a#b",
        "run (1)",
        "(1)",
        "it's",
        "'quoted",
        'say "x"',
        '"',
        "[csv]",
        "a[/b]",
        "[1,2]",
        "{a: 1}",
        "}",
    ),
    *(
        "two words",
        " leading",
        "trailing ",
        " both ",
        "\ttab",
        "a~b",
        "x/~y",
        "$5",
        "a$b",
        "back\\slash",
        "end\\",
        "\\'",
    ),
    *(
        "new\nline",
        "naïve é",
        "日本",
        "-dash",
        "--double",
        "*",
        "?",
        "!",
        "a;b|c&d",
        "`x`",
        "50%",
        "a:b",
        "a@b",
        "+a",
        ".",
    ),
    *("1", "1.5", "1e3", "true", "nan", "range(3)", "glob(*)", "choice(a,b)", "lr=0.1,latent=rloo", "a=[1,2],b='c d'"),
]
"""Folders that people and `${hydra.job.override_dirname}` name."""

SETTINGS = ("resume", "paths.data_dir", "paths.output_dir", "hydra.run.dir", "hydra.sweep.dir")


def told(*words: str) -> DictConfig:
    """What Hydra sets by a command line."""
    config = OmegaConf.create({"seed": 3})
    for override in OverridesParser.create().parse_overrides(quote_paths(words)):
        OmegaConf.update(config, override.key_or_group, override.value())
    return config


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_every_name_is_one_word_raw_and_quoted(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = f"logs/{name}"
    for write in (str, quoted, lambda text: f' "{text}" ' if '"' not in text and "\\" not in text else text):
        for start in (path, f"{tmp_path}/{name}"):
            config = told(*(f"{each}={write(start)}" for each in SETTINGS))
            assert [OmegaConf.select(config, each) for each in SETTINGS] == [start] * len(SETTINGS)


@pytest.mark.parametrize("name", [*NAMES, "${x}", "a${b}c", "\\${x}"], ids=repr)
@pytest.mark.parametrize("quote", [str, quoted], ids=["raw", "quoted"])
def test_a_folder_that_is_there_is_found_under_its_own_name(name, quote, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("logs", name).mkdir(parents=True)
    for path in (f"logs/{name}", *([name] if "/" not in name else [])):
        if path == name and name != ".":
            Path(name).mkdir()
        words = quote_paths([f"resume={quote(path)}"])
        assert told(*words).resume == path
        monkeypatch.setattr("sys.argv", ["train.py", *words])
        assert str(path_argument("resume")) == str(Path(path))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_printed_command_runs_as_it_is_pasted(encoding, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    names = (*NAMES, "~", "~root", "???", "null", "NULL", "'null'")
    lines = [command("printf", r"%s\0", setting("resume", name), setting("run", f"logs/{name}")) for name in names]
    assert all(line.isprintable() and line.encode(encoding) for line in lines)
    said = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, check=True).stdout.decode()
    words = said.split("\0")
    for name, *given_words in zip(names, words[::2], words[1::2], strict=False):
        monkeypatch.setattr("sys.argv", ["train.py", *quote_paths(given_words)])
        for each, path in (("resume", name), ("run", f"logs/{name}")):
            assert os.path.normpath(path_argument(each) or "") == os.path.normpath(path)


UNDECODED = some.integers(0x80, 0xFF).map(lambda byte: os.fsdecode(bytes([byte])))
"""A byte of a file's name that is no UTF-8."""

SPECIAL = some.sampled_from(
    [*"=',\"#~({[)}]$\\!`;&|<>*? \n\t-+@%:", "é", "日", "${", "${seed}", "\\${", "~root", "null", "???"]
)
FILES = some.lists(
    SPECIAL | some.characters(codec="utf-8", exclude_characters="/\0") | UNDECODED, min_size=1, max_size=8
)


@given(some.lists(FILES.map("".join).filter(lambda name: name not in (".", "..")), min_size=1, max_size=15))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_printed_command_of_any_folder_names_it(tmp_path_factory, names):
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("folders"))
    try:
        lines = []
        for name in names:
            Path("x", name).mkdir(parents=True, exist_ok=True)
            Path(name).mkdir(exist_ok=True)
            for path in (name, f"x/{name}", os.path.abspath(name)):
                lines.append(command("printf", r"%s\0", setting("resume", path), setting("sweep.resume", path)))
        assert all(line.isprintable() for line in lines)
        said = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, check=True).stdout
        words = list(map(os.fsdecode, said.split(b"\0")))
        paths = [path for name in names for path in (name, f"x/{name}", os.path.abspath(name))]
        for path, *given_words in zip(paths, words[::2], words[1::2], strict=False):
            for each, word in zip(("resume", "sweep.resume"), given_words, strict=True):
                assert os.path.samefile(OmegaConf.select(told(word), each), path)
    finally:
        os.chdir(here)


@given(some.lists(some.text(some.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1))
@settings(deadline=None)
def test_any_text_comes_through_quoting_interpolation_and_bash(texts):
    for text in texts:
        assert hydra_value(quoted(text)) == text
        assert unquoted(quoted(text)) == text
        assert OmegaConf.create({"x": verbatim(text)}).x == text
    done = subprocess.run(["bash", "-c", command("printf", r"%s\0", *texts)], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == texts


@given(some.text(alphabet="ab=,'\"\\ ()[]{}$#~\n", min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_command_line_that_was_quoted_stays_as_it_is(text):
    for name in SETTINGS:
        once = quote_paths([f"{name}={text}"])
        assert quote_paths(once) == once


def test_interpolations_are_resolved_and_plain_words_stay_as_they_are():
    words = ["hydra.run.dir=logs/${seed}, ${latent}", "seed=3", "paths.data_dir=data", "latent=st_gumbel"]
    kept = quote_paths(words)
    assert kept[1:] == words[1:]
    assert told(*kept).hydra.run.dir == "logs/3, st_gumbel"


@pytest.mark.parametrize("word", ["paths.data_dir=a,b", "paths.data_dir=choice(a,b)", "seed=range(3)", "latent=a,b"])
def test_choices_of_a_sweep_stay_choices(word):
    assert quote_paths(["-m", word]) == ["-m", word]


def test_folders_of_a_sweep_itself_are_no_choices():
    assert quote_paths(["-m", "hydra.sweep.dir=a,b"]) == ["-m", "hydra.sweep.dir='a,b'"]
    assert quote_paths(["sweep.resume=a,b"]) == ["sweep.resume='a,b'"]


@pytest.mark.parametrize("flag", ["--config-dir {}", "--config-dir={}", "-cd {}"])
@pytest.mark.parametrize("name", ["a=b, (1)", "-dash", "~/x y", "é'"])
def test_a_folder_of_options_is_absolute(flag, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    kind, blank, _ = flag.partition(" ")
    words = [kind, name] if blank else [flag.format(name)]
    assert quote_paths([*words, "seed=1"]) == ["--config-dir", str(tmp_path / name.removeprefix("~/")), "seed=1"]


@pytest.mark.parametrize("path", ["~/x", "'~/x'", "~"])
def test_the_home_directory(path, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "ho=me"))
    words = quote_paths([f"resume={path}", f"paths.data_dir={path}"])
    for name in ("resume", "paths.data_dir"):
        assert OmegaConf.select(told(*words), name) == str(tmp_path / "ho=me" / path.strip("'~/"))


@pytest.mark.parametrize(("value", "path"), [("null", None), ("'null'", Path("null")), ("none", Path("none"))])
def test_null_is_no_folder(value, path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", *quote_paths([f"resume={value}"])])
    assert path_argument("resume") == path


def test_relative_paths_are_those_of_where_the_command_was_started(monkeypatch, tmp_path):
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    monkeypatch.setenv("DISCRETE_LATENTS_DATA", "da ta")
    words = ["data=arrays", "resume=run", "callbacks.checkpoint.dirpath=ck", "+data.source.root=/abs/${seed}"]
    config = composed([*words, "paths.output_dir=out"])
    set_from_start(config, tmp_path)
    assert (config.resume, config.paths.data_dir) == (f"{tmp_path}/run", f"{tmp_path}/da ta")
    assert (config.paths.output_dir, config.logger.csv.path) == (f"{tmp_path}/out", f"{tmp_path}/out/metrics.csv")
    assert (config.data.source.folder, config.data.source.root) == (f"{tmp_path}/da ta/arrays", "/abs/0")
