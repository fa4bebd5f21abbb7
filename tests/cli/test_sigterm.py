"""SIGTERM outside of training steps: the command ends at once, says how to go on, and leaves a run that does."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from discrete_latents.data import ImageData
from discrete_latents.models import LatentModel
from tests.cli.conftest import ROOT, SMALL, beyond_progress
from tests.cli.test_resume import results
from tests.helpers.witness import TESTS

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]

LONG = "eval_samples=500000"
"""Minutes for a single batch of the test."""


def signalled(function: Callable, seconds: float) -> Callable:
    """A function during which SIGTERM comes, that many seconds after its start."""

    def call(*arguments: object, **settings: object) -> object:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        try:
            return function(*arguments, **settings)
        finally:
            timer.cancel()  # or it would end the tests
            timer.join()

    return call


def test_in_a_test_batch(command, monkeypatch, finished, tmp_path):
    with monkeypatch.context() as patched:
        patched.setattr(LatentModel, "test_step", signalled(LatentModel.test_step, 0.3))
        started = time.monotonic()
        outcome = command("train", *SMALL, LONG, "hydra.run.dir=run")
        assert time.monotonic() - started < 60
    assert outcome.code == 128 + signal.SIGTERM
    assert beyond_progress(outcome.err) == [
        f"stopped by SIGTERM in the test, after step 26; to go on: python train.py resume={tmp_path}/run"
    ]
    assert not (tmp_path / "run" / "results.json").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert command("train", "resume=run", "eval_samples=20").code == 0
    assert results(tmp_path / "run")["metrics"] == results(finished.folder)["metrics"]


def test_in_an_evaluation(command, monkeypatch, finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    before = results(run)
    monkeypatch.setattr(LatentModel, "test_step", signalled(LatentModel.test_step, 0.3))
    outcome = command("eval", f"run={run}", LONG)
    assert outcome.code == 128 + signal.SIGTERM
    assert [line for line in beyond_progress(outcome.err) if "Warn" not in line] == [
        "stopped by SIGTERM in the test, after step 0"
    ]
    assert results(run) == before


def test_in_the_set_up_of_data(command, monkeypatch, finished, tmp_path):
    def setup(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    with monkeypatch.context() as patched:
        patched.setattr(ImageData, "setup", setup)
        outcome = command("train", *SMALL, "hydra.run.dir=run")
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.err == f"stopped by SIGTERM before training; to go on: python train.py resume={tmp_path}/run\n"
    assert command("train", "resume=run").code == 0
    assert results(tmp_path / "run")["metrics"] == results(finished.folder)["metrics"]


def test_in_a_job_of_a_sweep(command, monkeypatch, tmp_path):
    monkeypatch.setattr(LatentModel, "test_step", signalled(LatentModel.test_step, 0.3))
    outcome = command("train", "-m", *SMALL, LONG, "seed=0,1", "hydra.sweep.dir=sweep")
    assert outcome.code == 128 + signal.SIGTERM
    assert not (tmp_path / "sweep" / "0" / "results.json").exists()
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_handler_of_somebody_else_stays(command, monkeypatch, tmp_path):
    came = []
    former = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    try:
        monkeypatch.setattr(LatentModel, "test_step", signalled(LatentModel.test_step, 0.0))
        outcome = command("train", *SMALL, "eval_samples=2000", "hydra.run.dir=run")
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, former)
    assert outcome.code == 0
    assert came == [1]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_no_process_outlives_the_first_when_that_is_killed_at_its_start(tmp_path, seconds):
    words = [*SMALL, "trainer=ddp_sim", "trainer.max_epochs=100000", "hydra.run.dir=run"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | TESTS, stdout=log, stderr=log)
    try:
        others: list[int] = []
        while not others:
            assert first.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
            others = children(first.pid)
        time.sleep(seconds)
    finally:
        first.kill()
        first.wait()
    limit = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{other}/cmdline") and running(other) for other in others):
        assert time.monotonic() < limit
        time.sleep(0.1)


def children(parent: int) -> list[int]:
    """The processes of train.py that a process started."""
    done = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in done.stdout.splitlines() if "train.py" in line]


def running(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_in_a_test_batch_of_two_processes(tmp_path, rank):
    """Whichever process gets it, the first says so, and none is left."""
    words = [*SMALL, LONG, "trainer=ddp_sim", "trainer.max_epochs=1", "hydra.run.dir=run"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | TESTS, stdout=log, stderr=log)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while not last.is_file():
        assert first.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    time.sleep(3)
    (other,) = children(first.pid)
    os.kill(other if rank else first.pid, signal.SIGTERM)
    assert first.wait(timeout=20) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    assert "after step 7; to go on" in (tmp_path / "log").read_text()
    assert not running(other)
