"""Every command that the documentation prints is one that bash runs, with words that Hydra's grammar takes."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"(?:\$ |srun )?(?:python (?:train|eval)\.py|discrete-latents-search)\b.*")
SHELL = re.compile(r"(?<!\\)[*?(){}\[\]~<>|&;]")
"""What means something to bash outside quotes."""


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
