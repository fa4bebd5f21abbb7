"""`launcher=stacked`: each job's directory is as if it had been trained alone."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import ROOT, SMALL, command, weights

__all__ = ["command"]  # a fixture

QUIET = ["callbacks.pictures.every_n_epochs=0", "~callbacks.report", "compile=false"]
STACKED = ["-m", "launcher=stacked", *SMALL, *QUIET]
TIMES = {"seconds", "total_seconds", "train_images_per_second", "command", "metrics"}


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def same_numbers(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        if "images_per_second" not in name:
            assert float(value or "nan") == pytest.approx(
                float(second[name] or "nan"), rel=2e-4, abs=2e-5, nan_ok=True
            ), name


def same_runs(first: Path, second: Path) -> None:
    """Of two directories: files, weights, noise, counts, metrics and results are equal within float error."""
    names = [sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()) for run in (first, second)]
    assert names[0] == names[1]
    for name in ("last", "best"):
        one, other = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (first, second))
        assert one.keys() == other.keys()
        assert torch.equal(one["noise"], other["noise"])
        assert (one["global_step"], one["loops"]) == (other["global_step"], other["loops"])
        for key, value in one["state_dict"].items():
            torch.testing.assert_close(value, other["state_dict"][key], rtol=1e-3, atol=1e-5)
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size()  # no other run's weights
    rows = [list(csv.DictReader((run / "metrics.csv").read_text().splitlines())) for run in (first, second)]
    assert len(rows[0]) == len(rows[1])
    for row, other in zip(*rows, strict=True):
        same_numbers(row, other)
    ours, theirs = results(first), results(second)
    same_numbers(ours["metrics"], theirs["metrics"])
    assert ours.keys() == theirs.keys()


def test_a_stack_of_no_size_is_one_line(command, tmp_path: Path):
    outcome = command("train", *STACKED, "seed=1,2", "hydra.launcher.size=0")
    assert (outcome.code, outcome.err) == (1, "error: hydra.launcher.size must be at least 1, got 0\n")


TEMPERATURES = ["temperature.period=1", "temperature.rate=0.1", "trainer.max_epochs=1"]


def test_a_stacked_job_is_the_single_run_at_its_own_temperature(command, tmp_path: Path):
    stacked = command("train", *STACKED, *TEMPERATURES, "temperature.minimum=0.5,0.3", "hydra.sweep.dir=stacked")
    assert stacked.code == 0, stacked.err
    assert command("train", *SMALL, *QUIET, *TEMPERATURES, "temperature.minimum=0.3", "hydra.run.dir=single").code == 0
    same_runs(tmp_path / "stacked" / "1", tmp_path / "single")


@pytest.mark.slow
def test_jobs_of_other_seeds_and_rates_are_the_single_runs_and_go_on_as_they_do(command, tmp_path: Path):
    stacked = command("train", *STACKED, "seed=1,2", "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=stacked")
    assert stacked.code == 0, stacked.err
    assert "4 jobs: 4 in 1 stacks, 0 alone" in stacked.out + stacked.err
    for job, words in ((0, "seed=1 optimizer.lr=1e-3"), (3, "seed=2 optimizer.lr=1e-2")):
        single = command("train", *SMALL, *QUIET, *words.split(), f"hydra.run.dir=single-{job}")
        assert single.code == 0, single.err
        same_runs(tmp_path / "stacked" / str(job), tmp_path / f"single-{job}")
    for run in ("stacked/3", "single-3"):
        assert command("train", f"resume={run}", "trainer.max_epochs=3").code == 0
    same_runs(tmp_path / "stacked" / "3", tmp_path / "single-3")
    assert command("eval", "run=stacked/1").code == 0


@pytest.mark.slow
def test_what_cannot_be_stacked_is_trained_alone_and_one_that_fails_stops_no_other(command, tmp_path: Path):
    outcome = command(
        "train", *STACKED, "seed=1,-1", "latent=gumbel_softmax,rebar", "hydra.sweep.dir=sweep", "trainer.max_epochs=1"
    )
    assert outcome.code == 1
    assert (outcome.out + outcome.err).count("trained by itself: Rebar differentiates within a step") == 1
    assert "2 of 4 jobs are not completed" in outcome.out
    assert [results(tmp_path / "sweep" / str(job))["status"] for job in range(4)] == ["completed"] * 2 + ["failed"] * 2
    again = command("train", *STACKED, "compile=true", "seed=3,4", "hydra.sweep.dir=alone", "trainer.max_epochs=0")
    assert (again.out + again.err).count("alone: compile = true") == 2


@pytest.mark.slow
def test_a_stack_that_sigterm_stops_is_finished_as_one_that_was_not(command, tmp_path: Path):
    words = [*STACKED, "seed=1,2", "trainer.max_epochs=8"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words, "hydra.sweep.dir=stopped"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    last = tmp_path / "stopped" / "1" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 200
    while not last.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 143, said
    assert "to go on: python train.py sweep.resume=stopped" in said
    stopped = [torch.load(tmp_path / f"stopped/{job}/checkpoints/last.ckpt", weights_only=True) for job in range(2)]
    # A signal between the turns of two runs lets the first end one step later.
    first, second = (state["global_step"] for state in stopped)
    assert abs(first - second) <= 1
    assert max(first, second) < 8 * 13
    assert command("train", "sweep.resume=stopped").code == 0
    assert command("train", *words, "hydra.sweep.dir=whole").code == 0
    for job in range(2):
        same_runs(tmp_path / "stopped" / str(job), tmp_path / "whole" / str(job))
        first, second = (weights(tmp_path / f"{sweep}/{job}/checkpoints/last.ckpt") for sweep in ("stopped", "whole"))
        assert all(torch.equal(first[name], second[name]) for name in first)
