"""Every command answers --help at once and in one form, and a wrong argument is one line."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from discrete_latents.config.command_parser import CommandParser, positive_number, whole_number
from tests.helpers.modules import ROOT, environment, run_module

SCRIPTS = sorted(
    [f"scripts.{path.stem}" for path in (ROOT / "scripts").glob("*.py") if path.stem != "__init__"]
    + [f"scripts.{path.parent.name}" for path in (ROOT / "scripts").glob("*/__main__.py")]
)
CONSOLE = {
    name: target
    for name, target in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
    if not target.startswith("discrete_latents.start:")  # train.py and eval.py, whose help is Hydra's
}
MODULES = {
    "discrete_latents.search": "discrete-latents-search",
    "discrete_latents.summary": "discrete-latents-summarize",
    "discrete_latents.export": "discrete-latents-export",
    "discrete_latents.explore": "discrete-latents-explore",
}
COMMANDS = [*SCRIPTS, *MODULES]
WRONG = {
    "scripts.atlas": ["--sort", "beauty"],
    "scripts.benchmark": ["--blocks", "1"],
    "scripts.compare_estimators": ["--latents", "gumbel"],
    "scripts.gradient_study": ["--temperatures", "0"],
    "scripts.photographs": ["--outputs", "x"],
    "scripts.relaxation_figure": ["--samples", "10"],
    "scripts.reproduce": ["jang_table1", "--jobs", "-1"],
    "scripts.soak": ["--kills", "0"],
    "scripts.tokenizer": ["--codes", "1"],
    "scripts.codebook_scale": ["--classes", "1"],
    "scripts.polynomial_toy": ["--steps", "1"],
    "scripts.straight_through_ideas": ["--seeds", "0"],
    "discrete_latents.search": ["--trials", "3"],
    "discrete_latents.summary": ["--by"],
    "discrete_latents.export": [],
    "discrete_latents.explore": ["a", "b"],
    "scripts.constraints": ["--lowest"],
    "scripts.shipped_run": ["vae_mnist"],
}

WITHOUT_DESCRIPTION = r"^  \S+( \S+)*\n(?! {10})"
"""An argument in a help: its description is on its line, or on the next one, further in."""

PROBE = """
import resource, runpy, sys
name, sys.argv[1:] = sys.argv[1], ["--help"]
try:
    runpy.run_module(name, run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code
heavy = {"torch", "lightning", "matplotlib", "optuna"} & sys.modules.keys()
print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, *sorted(heavy), file=sys.stderr)
"""


def help_of(name: str) -> tuple[str, float, list[str]]:
    """The help of a command, the user CPU seconds of its process, and which large packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, name], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seconds, *heavy = done.stderr.split()
    return done.stdout, float(seconds), heavy


def test_the_commands_are_found():
    assert set(COMMANDS) == WRONG.keys()
    assert {"scripts.benchmark", "scripts.reproduce", "scripts.soak"} <= set(SCRIPTS)
    assert set(MODULES.values()) == CONSOLE.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_comes_at_once_and_begins_with_the_purpose_and_an_example(name: str):
    shown, seconds, heavy = help_of(name)
    assert heavy == []
    assert seconds < 1
    purpose, empty, example, *_ = shown.splitlines()
    assert re.fullmatch(r"[A-Z].*\.", purpose)
    assert empty == ""
    assert re.match(rf"    {re.escape(MODULES.get(name, f'python -m {name}'))}\b", example)
    assert "-h, --help" in shown
    assert not re.search(WITHOUT_DESCRIPTION, shown, re.MULTILINE)


ARGUMENTS = ["--quiet", "--epochs EPOCHS", "--latents LATENT [LATENT ...]", "--device {cpu,cuda}", "N"]


@pytest.mark.parametrize("line", ARGUMENTS)
def test_an_argument_without_description_is_found(line: str):
    for text in (f"  {line}\n  --seed SEED  of it\n", f"  --seed SEED  of it\n  {line}\n"):
        assert re.search(WITHOUT_DESCRIPTION, text, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_argument_is_one_line(name: str, tmp_path: Path):
    done = run_module(name, *WRONG[name], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: .+; --help says how this is used\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "target"), CONSOLE.items())
def test_a_console_script_is_the_main_of_the_module(name: str, target: str):
    module, _, function = target.partition(":")
    package = module.rpartition(".")[0]
    assert MODULES[package] == name
    assert getattr(import_module(f"{package}.__main__"), function) is getattr(import_module(module), function)


def test_what_is_no_command_is_no_script():
    packages = {path.parent.name for path in (ROOT / "scripts").glob("*/__init__.py")}
    assert packages - {name.removeprefix("scripts.") for name in SCRIPTS} == {"common", "documentation"}
    for path in (ROOT / "scripts").glob("*.py"):
        assert path.stem == "__init__" or "def main() -> None:" in path.read_text()


def test_defaults_are_listed_zero_too(capsys: pytest.CaptureFixture[str]):
    parser = CommandParser("Do this.\n\n    python -m this")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the draws")
    parser.add_argument("--grid", type=positive_number, nargs="+", default=[0.5, 2.0], help="of τ")
    parser.add_argument("--only", nargs="+", default=[], help="these")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.add_argument("--output", help="folder")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Do this."
    assert "--seed SEED           of the draws (default: 0)" in lines
    assert "of τ (default: 0.5 2.0)" in lines
    assert sum("default" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "0"], "argument --count: it must be a whole number of at least 1, got 0"),
        (["--count", "1.5"], "argument --count: invalid literal for int() with base 10: '1.5'"),
        (["--nats", "0"], "argument --nats: it must be a number greater than 0, got 0.0"),
        (["--nats", "nan"], "argument --nats: it must be a number greater than 0, got nan"),
        (["--nats", "inf"], "argument --nats: it must be a number greater than 0, got inf"),
        (["--nats", "much"], "argument --nats: could not convert string to float: 'much'"),
    ],
)
def test_a_number_that_cannot_be_right_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    parser = CommandParser("Do this.")
    parser.add_argument("--count", type=whole_number(), help="of them")
    parser.add_argument("--nats", type=positive_number, help="of them")
    with pytest.raises(SystemExit, match="1"):
        parser.parse_args(words)
    assert capsys.readouterr().err == f"error: {said}; --help says how this is used\n"
