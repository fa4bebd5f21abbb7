"""The script for a GPU that is lent, rehearsed on a CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.modules import ROOT

SCRIPT = ["bash", "scripts/gpu_day.sh"]


def rehearse(out: Path, data: Path, **variables: str) -> tuple[int, list[str]]:
    """The exit code and the lines of the summary."""
    given = {"OUT": str(out), "PYTHON": sys.executable, "DISCRETE_LATENTS_DATA": str(data), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*SCRIPT, "rehearsal"], cwd=ROOT, env=os.environ | given | variables, capture_output=True)
    return done.returncode, (out / "summary.txt").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.mnist
def test_every_part_runs_and_leaves_what_it_measured(mnist_root: Path, tmp_path: Path):
    code, lines = rehearse(tmp_path / "out", mnist_root)
    assert [line.split(", ")[0] for line in lines] == [
        f"{part}: done" for part in ("machine", "tests", "benchmark", "stacked", "cell")
    ]
    assert code == 0
    assert (tmp_path / "out" / "results" / "benchmark.json").is_file()
    assert (tmp_path / "out" / "cell" / "results.json").is_file()


def test_no_part_goes_beyond_the_budget_and_what_failed_is_counted(tmp_path: Path):
    code, lines = rehearse(tmp_path, tmp_path, BUDGET="0")
    assert (code, len(lines)) == (5, 5)
    assert all("not run, no time was left" in line for line in lines)
    (tmp_path / "python").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    code, lines = rehearse(tmp_path, tmp_path, PYTHON=str(tmp_path / "python"))
    assert (code, len(lines)) == (5, 5)
    assert all("failed with code 3" in line for line in lines)


def test_another_word_is_refused():
    done = subprocess.run([*SCRIPT, "rehearse"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 64
    assert "usage" in done.stderr
