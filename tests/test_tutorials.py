"""The tutorials' files and commands work as they are printed."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, command

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
SHORT = ["trainer.max_epochs=1", "+trainer.enable_progress_bar=false", "eval_samples=5"]

__all__ = ["command"]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each code block of a page."""
    return re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page: Path) -> list[str]:
    return [line for language, text in blocks(page) if language == "bash" for line in text.splitlines()]


CASES = [
    pytest.param(page, line, id=f"{page.stem}: {line}", marks=[pytest.mark.slow] if number > 1 else [])
    for page in sorted(TUTORIALS.glob("*.md"))
    for number, line in enumerate(commands(page))
]


@pytest.mark.parametrize(("page", "line"), CASES)
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
def test_a_tutorials_command_works(
    command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Path, line: str
):
    for language, text in blocks(page):
        if language in ("python", "yaml"):
            path = tmp_path / re.match(r"# (\S+)\n", text)[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            monkeypatch.delitem(sys.modules, path.stem, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    program, script, *words = line.split()
    assert (program, script) == ("python", "train.py")
    outcome = command("train", *words, *SHORT)
    assert outcome.code == 0, outcome.err
    found = list(tmp_path.rglob("results.json"))
    assert found
    assert all('"status": "completed"' in path.read_text() for path in found)


def test_both_ways_fit_in_forty_lines():
    models = [text for language, text in blocks(TUTORIALS / "own_model.md") if language == "python"]
    lengths = [len([line for line in text.splitlines() if line.strip()]) for text in models]
    assert len(lengths) == 2
    assert max(lengths) <= 42, lengths
