"""Estimators compared on one budget."""

import json
from pathlib import Path

import pytest

from tests.helpers.modules import run_module


@pytest.mark.slow
def test_estimators_are_compared_on_one_budget_and_none_is_trained_twice(tmp_path: Path):
    small = [
        "--experiment",
        "vae_digits",
        "--epochs",
        "2",
        "--repeats",
        "3",
        "--runs",
        "runs",
        "--output",
        "out",
        "eval_samples=5",
    ]
    times = []
    for latents in (["rloo"], ["rloo", "disarm", "exact"]):
        done = run_module("scripts.compare_estimators", "--latents", *latents, *small, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        times.append((tmp_path / "runs" / "categorical_rloo" / "results.json").stat().st_mtime_ns)
    assert times[0] == times[1]
    rows = json.loads((tmp_path / "out" / "estimators.json").read_text())
    found = [(row["model"], row["latent"]) for row in rows]
    assert sorted(found) == [("bernoulli", "disarm"), ("bernoulli", "rloo"), ("categorical", "rloo")]
    assert all(row["relative_time"] > 0 and row["gradient_variance"] > 0 for row in rows)
    assert {row["steps"] for row in rows} == {26}
    assert (tmp_path / "out" / "estimators.png").stat().st_size > 5000
    assert "200 Bernoulli" in (tmp_path / "out" / "estimators.md").read_text()
