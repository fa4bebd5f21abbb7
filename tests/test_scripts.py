"""The scripts run, and write what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.mnist
def test_the_benchmark_times_every_contender_in_turn(mnist_root: Path, tmp_path: Path):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "benchmark.py"),
        "--networks",
        "linear",
        "--data",
        str(mnist_root),
    ]
    small = ["--contenders", "plain", "ours", "template", "products", "--steps", "100", "--blocks", "2"]
    done = subprocess.run([*command, *small], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results" / "benchmark.json").read_text())
    for row in results["steps"]["linear"].values():
        assert row["plain"]["ratio"] == 1
        assert row["template"]["ratio"] > row["ours"]["ratio"] > row["products"]["ratio"] > 0
    assert results["startup"]["first_step"] > results["startup"]["imports"] / 2 > 0


@pytest.mark.slow
def test_estimators_are_compared_on_one_budget_and_none_is_trained_twice(tmp_path: Path):
    command = [sys.executable, str(ROOT / "scripts" / "compare_estimators.py"), "--experiment", "vae_digits"]
    small = ["--epochs", "2", "--repeats", "3", "--runs", "runs", "--output", "out", "eval_samples=5"]
    times = []
    for latents in (["rloo"], ["rloo", "disarm", "exact"]):
        done = subprocess.run([*command, "--latents", *latents, *small], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        times.append((tmp_path / "runs" / "categorical_rloo" / "results.json").stat().st_mtime_ns)
    assert times[0] == times[1]
    rows = json.loads((tmp_path / "out" / "estimators.json").read_text())
    found = [(row["model"], row["latent"]) for row in rows]
    assert sorted(found) == [("bernoulli", "disarm"), ("bernoulli", "rloo"), ("categorical", "rloo")]
    assert all(row["relative_time"] > 0 and row["gradient_variance"] > 0 for row in rows)
    assert {row["steps"] for row in rows} == {26}
    assert "200 Bernoulli" in (tmp_path / "out" / "estimators.md").read_text()


@pytest.mark.slow
def test_class_scaling_measures_every_number_of_classes(tmp_path: Path):
    command = [sys.executable, str(ROOT / "scripts" / "class_scaling.py"), "--classes", "2", "30"]
    small = ["--batch-size", "20", "--repeats", "3", "--output", str(tmp_path)]
    done = subprocess.run([*command, *small], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    few, many = json.loads((tmp_path / "class_scaling.json").read_text())["rows"]
    assert (few["classes"], many["classes"]) == (2, 30)
    assert many["ratio"] > few["ratio"]  # thirty decodings against one: no matter how busy the machine
    assert "| 30 |" in (tmp_path / "class_scaling.md").read_text()
    assert (tmp_path / "class_scaling.png").stat().st_size > 5000
