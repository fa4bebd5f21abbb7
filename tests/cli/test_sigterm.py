"""SIGTERM outside of training steps: the command ends at once, says how to go on, and leaves a run that does."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest

from discrete_latents.data import ImageData
from discrete_latents.models import LatentModel
from discrete_latents.runs.directory import RunDirectory
from scripts.soak import differences
from tests.cli.conftest import ROOT, SMALL, beyond_progress
from tests.cli.test_resume import results
from tests.helpers.tables import rest_is_slow
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


class Interrupted:
    """A validation step in one of whose calls SIGTERM comes, when it has done its work and would go on for long."""

    def __init__(self, call: int) -> None:
        self.call, self.calls, self.step = call, 0, LatentModel.validation_step

    def __call__(self, model: LatentModel, *batch: object) -> None:
        self.step(model, *batch)  # type: ignore[arg-type]
        self.calls += 1
        if self.calls == self.call:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(100)


WITHIN_EPOCHS = ["+trainer.val_check_interval=3", "data.eval_batch_size=100"]
IN_VALIDATION = {
    "at the end of an epoch": (["data.eval_batch_size=100"], [3, 1]),
    "within an epoch": (WITHIN_EPOCHS, [5, 2]),
    "of the last step": ([*WITHIN_EPOCHS, "trainer.max_steps=6"], [6]),
    "of the last epoch": (["data.eval_batch_size=100"], [5, 1]),
    "in Lightning's loop": ([*WITHIN_EPOCHS, "steps_per_loop=1"], [2, 1]),
    "while gradients are kept": ([*WITHIN_EPOCHS, "+trainer.accumulate_grad_batches=2"], [2, 1]),
    "after every step": (["+trainer.val_check_interval=1", "callbacks.checkpoint.every_n_steps=1"], [2, 1, 7]),
}
"""Settings, and the calls of the validation step, counted from each start, in which SIGTERM comes."""


@pytest.mark.parametrize("case", rest_is_slow(list(IN_VALIDATION), 2))
def test_in_a_validation_batch(command, monkeypatch, tmp_path, case):
    further, calls = IN_VALIDATION[case]
    words = [*SMALL, "data.batch_size=200", "trainer.log_every_n_steps=2", *further]
    assert command("train", *words, "hydra.run.dir=straight").code == 0
    start = [*words, "hydra.run.dir=run"]
    for call in calls:
        with monkeypatch.context() as patched:
            interrupted = Interrupted(call)
            patched.setattr(LatentModel, "validation_step", lambda *given: interrupted(*given))  # noqa: B023
            started = time.monotonic()
            outcome = command("train", *start)
            assert time.monotonic() - started < 60
        assert outcome.code == 128 + signal.SIGTERM, outcome.err
        (said,) = beyond_progress(outcome.err)
        assert said.endswith(f"; to go on: python train.py resume={tmp_path}/run")
        start = ["resume=run"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    outcome = command("train", "resume=run")
    assert outcome.code == 0, outcome.err
    assert differences(RunDirectory(tmp_path / "straight"), RunDirectory(tmp_path / "run")) == []


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
    assert outcome.err == "stopped by SIGTERM before training\n"
    assert command("train", *SMALL, "hydra.run.dir=run").code == 0  # nothing was saved yet: the same command starts
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


class LongValidation(pl.Callback):
    """Half a second for each batch of a validation. Leaves a file when the first one begins."""

    def on_validation_batch_start(self, *_: object) -> None:
        Path("validates").touch()
        time.sleep(0.5)


LAST = "run/checkpoints/last.ckpt"
LONG_VALIDATION = [f"+callbacks.long._target_={__name__}.LongValidation", "data.eval_batch_size=5"]
IN_TWO_PROCESSES = {
    "a test": ([LONG], LAST, 3, "after step 7; to go on"),
    "a validation": (LONG_VALIDATION, "validates", 1, "to go on"),
}
"""Settings, the file that says that it has begun, how long to wait then, and what is said."""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("where", IN_TWO_PROCESSES)
def test_in_a_batch_of_two_processes(tmp_path, where, rank):
    """Whichever process gets it, the first says so, and none is left."""
    settings, begun, seconds, said = IN_TWO_PROCESSES[where]
    words = [*SMALL, *settings, "trainer=ddp_sim", "trainer.max_epochs=1", "hydra.run.dir=run"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, cwd=tmp_path, env=os.environ | TESTS, stdout=log, stderr=log)
    while not (tmp_path / begun).is_file():
        assert first.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    time.sleep(seconds)
    (other,) = children(first.pid)
    os.kill(other if rank else first.pid, signal.SIGTERM)
    assert first.wait(timeout=20) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    assert said in (tmp_path / "log").read_text()
    assert not running(other)
