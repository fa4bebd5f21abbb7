"""Every command that the documentation prints is one that bash runs, with words that Hydra's grammar takes."""

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from omegaconf import OmegaConf

from discrete_latents.config.command_parser import CommandParser
from discrete_latents.config.compose import composed, group_options

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"(?:\$ |srun )?(?:python (?:train|eval)\.py|discrete-latents-search)\b.*")
SHELL = re.compile(r"(?<!\\)[*?(){}\[\]~<>|&;]")
"""What means something to bash outside quotes."""
PROGRAM = re.compile(r"(?:\$ )?((?:discrete-latents-\w+|python -m scripts\.[a-z_]+)(?: .*)?)")
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]{2,}\b|\$|…")
"""RUN_DIR and the like: what the reader puts there is not known."""
FOREIGN = ("--help", "--config-dir", "lr=0.1", "binarization=soft", "tokenizer=")
"""What is no configuration, needs a folder of the reader's own, or is shown since it is wrong."""


def commands() -> Iterator[tuple[str, str]]:
    """Where a command is printed, and the command: in help texts, code blocks and comments, whole lines of their own or
    within backticks."""
    texts = {"train.py --help": OmegaConf.load(ROOT / "configs/hydra/default.yaml").help.header}
    texts["eval.py --help"] = OmegaConf.load(ROOT / "configs/eval.yaml").hydra.help.template
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        comments = [line.partition("#")[2] for line in path.read_text().splitlines() if "#" in line]
        texts[str(path.relative_to(ROOT))] = "\n".join(comments)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        lines = path.read_text().splitlines()
        texts[str(path.relative_to(ROOT))] = "\n".join(line for line in lines if line.startswith("    "))
    texts["discrete-latents-search --help"] = (ROOT / "src/discrete_latents/search/command.py").read_text()
    for place, text in texts.items():
        for line in text.splitlines():
            inside = re.findall(r"`(.*?)`", line)
            for part in inside if any(COMMAND.match(one) for one in inside) else [line]:
                if (found := COMMAND.search(part)) and "$(" not in found[0]:
                    yield place, found[0].removeprefix("$ ").rstrip("\\")


COMMANDS = list(commands())


def test_the_commands_are_found():
    places = {place for place, _ in COMMANDS}
    assert {
        "train.py --help",
        "eval.py --help",
        "discrete-latents-search --help",
        "README.md",
        "configs/launcher/joblib.yaml",
    } <= places
    assert len(COMMANDS) >= 25


@pytest.mark.parametrize(("place", "line"), COMMANDS, ids=[f"{place}: {line}" for place, line in COMMANDS])
def test_a_documented_command_runs_as_it_is_pasted(place, line):
    assert subprocess.run(["bash", "-n", "-c", line], capture_output=True, check=False).returncode == 0
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", re.sub(r"(^|\s)#.*", "", line))
    assert not SHELL.search(bare), f"{place}: {SHELL.search(bare)[0]} stands outside quotes"  # type: ignore[index]
    words = shlex.split(line, comments=True)
    words = words[next(index for index, word in enumerate(words) if word.endswith((".py", "-search"))) + 1 :]
    flags = {"-m": 0, "--multirun": 0, "--help": 0, "--hydra-help": 0, "--config-dir": 1}
    overrides = []
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            assert word in flags, f"{place}: {word}"
            del words[: flags[word]]
        elif "$" not in word:
            overrides.append(word)
    parsed = OverridesParser.create().parse_overrides(overrides)
    assert len(parsed) == len(overrides)


def first_job(override: Override) -> str:
    """The override of a sweep's first job."""
    key = override.get_key_element()
    if isinstance(override.value(), Glob):
        return f"{key}={group_options()[key][0]}"
    if override.is_sweep_override():
        return f"{key}={next(iter(override.sweep_string_iterator()))}"
    return str(override.input_line)


def configurations() -> dict[str, list[str]]:
    """The overrides of each printed train.py that is a configuration as it stands, by the command."""
    found = {}
    for _, line in COMMANDS:
        words = shlex.split(line, comments=True)
        if "train.py" in words and not PLACEHOLDER.search(line) and not any(word in line for word in FOREIGN):
            given = [word for word in words[words.index("train.py") + 1 :] if not word.startswith(("-", "hydra."))]
            found[" ".join(given)] = given
    return found


@pytest.mark.slow
def test_every_documented_train_command_is_a_configuration():
    found = configurations()
    assert len(found) >= 25
    for given in found.values():
        parsed = OverridesParser.create().parse_overrides(given)
        assert composed([first_job(override) for override in parsed])


class Parsed(Exception):
    """The arguments of a command are right; what it does is tested elsewhere."""


def programs() -> list[str]:
    """Every other command of this project in the documentation, without what stands for the reader's own."""
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "scripts/documentation/explained.py")
    lines = [line.strip() for page in pages for line in page.read_text().splitlines() if line.startswith("    ")]
    inside = [part for page in pages for part in re.findall(r"`([^`\n]+)`", page.read_text())]
    script = (ROOT / "scripts" / "gpu_day.sh").read_text().replace("\\\n", "")  # whose parts need a GPU, or minutes
    rented = re.findall(r'"\$python" (-m scripts\..*)', script)
    found = [match[1] for part in (*lines, *inside) if (match := PROGRAM.fullmatch(part))]
    found += [f"python {part}" for part in rented]
    return sorted({line for line in found if "…" not in line and " " in line})


@pytest.mark.filterwarnings("ignore:'scripts.* found in sys.modules:RuntimeWarning")  # another test has imported it
@pytest.mark.parametrize("line", programs())
def test_the_arguments_of_a_documented_command_are_right(line: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("parse_args", "parse_intermixed_args"):
        original = getattr(CommandParser, name)

        def parsed(self: CommandParser, *args: Any, original: Any = original) -> None:
            original(self, *args)
            raise Parsed

        monkeypatch.setattr(CommandParser, name, parsed)
    words = shlex.split(line, comments=True)
    monkeypatch.setattr(sys, "argv", words[2:] if words[0] == "python" else words)
    with pytest.raises(Parsed):
        start(words)


def start(words: list[str]) -> None:
    """Runs `python -m MODULE …` or a console script in this process."""
    if words[0] == "python":
        runpy.run_module(words[2], run_name="__main__")
    else:
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
        module, _, function = scripts[words[0]].partition(":")
        getattr(import_module(module), function)()


def test_other_commands_were_found():
    named = {line.split()[2] if line.startswith("python") else line.split()[0] for line in programs()}
    assert {"scripts.reproduce", "scripts.benchmark", "discrete-latents-export", "discrete-latents-summarize"} <= named
