"""The atlas of estimators: what is measured once, what its numbers mean, and what its page says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.atlas import cost, evidence, gradients
from scripts.atlas.__main__ import main
from scripts.atlas.reading import level, reading
from scripts.atlas.report import ordered, table
from scripts.atlas.rows import Row
from scripts.atlas.training import Problem, trained

DIGITS = Problem(("experiment=vae_digits",))


def row(latent: str, *nll: float | None, ratio: float = 1.0, **gradient: Any) -> Row:
    """A row with a value for each seed, the same after the same steps as in the same time."""
    runs = [{"seed": seed, "time": {"nll": x, "nelbo": x}} for seed, x in enumerate(nll)]
    runs = [run | {"steps": run["time"]} for run in runs]
    about = {"bias": 0.1, "floor": 0.1, "sd": 2.0, "samples": 1, "unbiased": False, "relaxed": False} | gradient
    return Row("categorical", latent, {"ratio": ratio, "memory": 1.0}, about, runs)


LOW, LEVEL, HIGH = row("low", 20.0, 21.0, 22.0), row("level", 20.4, 20.9, 22.3), row("high", 20.5, 21.5, 22.6)


def test_only_what_the_seeds_tell_apart_is_worse():
    """The seeds differ by more than the estimators; the pairs do not."""
    assert level([HIGH, LEVEL, LOW], "nll_time") == (LOW, [LEVEL])
    assert "**+0.53 ± 0.14**" in table([LOW, HIGH], "nll_time")
    assert "(+0.20 ± 0.66)" in table([LOW, LEVEL], "nll_time")
    one = [row("a", 1.0), row("b", 2.0)]
    assert level(one, "nll_time") == (one[0], [one[1]])  # one seed tells nothing


def test_the_reading_takes_the_best_of_those_that_fit():
    unbiased = row("unbiased", 21.0, 22.0, 23.1, ratio=3.0, unbiased=True)
    many = row("many", 19.0, 20.1, 21.0, unbiased=True, samples=5)
    said = reading([LOW, unbiased, many])
    assert "| the lowest nll for a given time | `many`: nll 20.03 at the same time | none |" in said
    assert "| an unbiased gradient | `unbiased`: nll 22.03 at the same time | none |" in said
    lost = row("lost", None, 1.0, 1.0)
    assert "lost" not in reading([LOW, lost])
    assert "not finite" in table([LOW, lost], "nll_time")


@pytest.mark.parametrize(("sort", "first"), [("nll_time", "low"), ("cost", "high"), ("latent", "high"), ("sd", "low")])
def test_rows_have_the_order_that_was_asked_for(sort: str, first: str):
    low, high = row("low", 1.0, ratio=2.0, sd=0.1), row("high", 2.0, ratio=1.0, sd=None)
    assert ordered([high, low], sort)[0].latent == first


def test_the_peak_is_of_what_is_held_at_once():
    """Three vectors of 4 MiB at most: both factors and their product."""
    x = torch.zeros(2**20)
    assert abs(cost.peak_bytes(lambda: ((x + 1) * (x + 2)).sum().item()) - 3 * 2**22) < 2**12


def test_a_run_goes_through_its_marks_as_a_shorter_run_does():
    short, long = (trained(DIGITS, "rloo", 0, marks, samples=2, images=30) for marks in ({3}, {3, 16}))
    assert long[3] == short[3]
    assert long[16]["nelbo"] < long[3]["nelbo"]


@pytest.mark.slow
def test_nothing_is_measured_twice_and_what_is_not_defined_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def call(*words: str) -> dict[str, Any]:
        small = ["--budget", "0.0002", "--samples", "2", "--images", "20", "--seeds", "0", "1"]
        places = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["atlas", "--only", "^(arm|rloo|exact)$", *small, *places, *words])
        main()
        return json.loads((tmp_path / "out" / "atlas.json").read_text())

    monkeypatch.setattr(gradients, "EPOCHS", 1)
    monkeypatch.setattr(cost, "REPEATS", 2)
    first = call()
    assert [(found["shape"], found["latent"]) for found in first["rows"]] == [
        ("categorical", "rloo"),
        ("bernoulli", "arm"),
        ("bernoulli", "rloo"),
    ]
    assert all(len(found["runs"]) == 2 and found["gradient"]["unbiased"] for found in first["rows"])
    assert first["undefined"].keys() == {"categorical, arm", "categorical, exact", "bernoulli, exact"}
    for run in first["rows"][1]["runs"]:
        expected = max(1, round(first["steps"] / first["rows"][1]["cost"]["ratio"]))
        assert run["steps_in_time"] == expected
    for name in ("cost", "gradient", "trained"):
        monkeypatch.setattr(evidence, name, None)
    again = call("--sort", "cost")
    assert again["rows"] == first["rows"]
    page = (tmp_path / "out" / "atlas.md").read_text()
    assert "- `categorical, exact` is left out: " in page
    assert "| an unbiased gradient |" in page
    assert (tmp_path / "out" / "atlas.png").stat().st_size > 5000


def test_what_was_not_measured_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["atlas", "--report", "--runs", str(tmp_path), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.endswith("has no measurements\n")
    assert not list(tmp_path.iterdir())
