"""The polynomial toy and the ideas for straight-through rules, tiny."""

import json
from pathlib import Path

import pytest

from tests.helpers.modules import run_module


@pytest.mark.slow
def test_the_ideas_are_held_against_zgr(tmp_path: Path):
    done = run_module("scripts.straight_through_ideas", "--seeds", "1", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "out" / "straight_through_ideas.json").read_text())
    assert all(len(row["bias"]) == len(row["variance"]) == 16 for row in measured.values())
    biases = {name: sum(row["bias"]) for name, row in measured.items()}
    assert biases["zgr = reinmax"] < next(bias for name, bias in biases.items() if name.startswith("straight"))
    (line,) = [
        line for line in (tmp_path / "out" / "straight_through_ideas.md").read_text().splitlines() if "zgr =" in line
    ]
    assert line.split("|")[3].strip() == "1.00"


@pytest.mark.slow
def test_the_toy_is_trained_and_held_against_the_paper(tmp_path: Path):
    words = ["zgr", "straight_through", "--steps", "400", "--seeds", "0", "--output", "out"]
    done = run_module("scripts.polynomial_toy", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    losses = json.loads((tmp_path / "out" / "polynomial_toy.json").read_text())["losses"]
    assert losses["zgr"]["2"] < losses["straight_through"]["2"]
    assert "| 0.1480 |" in (tmp_path / "out" / "polynomial_toy.md").read_text()
