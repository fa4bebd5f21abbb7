"""Toys: what is known of them in closed form, and that nothing is measured twice."""

import json
import math
import sys
from pathlib import Path

import pytest

from scripts.reproduce import toys
from scripts.reproduce.__main__ import main
from scripts.reproduce.toys import TOYS, make_estimator, measure, spread

NEAR = TOYS[1]
"""p₀ = 0.499: f is 0.249001 or 0.251001."""


def reinforce_variance() -> float:
    """Of f(z) (z − ½) with both classes as likely, over its squared mean."""
    low, high = 0.499**2, 0.501**2
    return ((low**2 + high**2) / 8 - ((high - low) / 4) ** 2) / ((high - low) / 4) ** 2


@pytest.mark.parametrize(
    ("name", "variance"),
    [("arm", 1 / 3), ("disarm", 0.0), ("exact", 0.0), ("rloo", 1 / 6), ("reinforce", reinforce_variance())],
)
def test_the_variance_at_the_start_is_that_of_the_formula(name: str, variance: float):
    """ARM: (f(1) − f(0))² / 48 over the square of a quarter. Leave-one-out of four: 1/6, by their number of ones."""
    found = spread(NEAR, make_estimator(name))
    assert math.isclose(found["variance"], variance, rel_tol=0.05, abs_tol=1e-9)
    assert found["bias"] < 4 * (variance / toys.VARIANCE_DRAWS) ** 0.5 + 1e-9


def test_gradients_without_noise_go_the_way_of_gradient_ascent():
    """dφ = (1 − 2 p₀) σ(φ) (1 − σ(φ)), by steps of size 1."""
    phi = 0.0
    for _ in range(40):
        on = 1 / (1 + math.exp(-phi))
        phi += (0.501**2 - 0.499**2) * on * (1 - on)
    row = measure(NEAR, "exact", 40)
    assert row is not None
    assert math.isclose(row["loss"], (0.501**2 - 0.499**2) / (1 + math.exp(phi)), rel_tol=1e-4)
    assert row["error"] < 1e-7


def test_nothing_is_measured_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def call(*words: str) -> list[dict]:
        monkeypatch.setattr(sys, "argv", ["reproduce", "toys", "--output", str(tmp_path), *words])
        main()
        return json.loads((tmp_path / "toys.json").read_text())

    first = call("--only", "^(arm|vimco)$", "--budget", "0.001")
    assert [(row["estimator"], row["steps"]) for row in first] == [("arm", 2)] * len(TOYS)
    monkeypatch.setattr(toys, "TOYS", TOYS[:1])
    more = call("--only", "^arm$", "--budget", "0.0015")
    assert [row["steps"] for row in more] == [3, 2, 2, 2]
    assert more[1:] == first[1:]
    monkeypatch.setattr(toys, "measure", None)
    assert call("--only", "^arm$", "--budget", "0.0015") == more
    assert "| `arm` |" in (tmp_path / "toys.md").read_text()


@pytest.mark.parametrize(
    ("only", "said"), [("no-such", "matches no estimator: annealed"), ("(", "is not a regular expression")]
)
def test_estimators_that_are_not_there_are_one_line(
    only: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["reproduce", "toys", "--only", only])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith(f"error: --only {only} {said}")
