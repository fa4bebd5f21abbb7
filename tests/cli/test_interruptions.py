"""A run that is told to stop, that a cluster takes away, or that finds the disk full."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from subprocess import PIPE

import lightning.pytorch as pl
import pytest
import torch

from tests.cli.conftest import ROOT, SMALL, beyond_progress, same_bits, snapshot, weights
from tests.cli.test_resume import results, timeless
from tests.helpers.tables import rest_is_slow
from tests.helpers.witness import TESTS

pytestmark = [pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")]

MODELS = {
    "vae_digits": SMALL,
    "sbn_digits": ["model.num_latents=3", "model.num_classes=4", *SMALL[3:]],
    "ssl_digits": ["model.network.hidden=[16]", "model.num_styles=4", *SMALL[3:]],
}
"""Small models by their experiment."""


class Terminate(pl.Callback):
    """Sends its own process a signal once a number of steps is done."""

    def __init__(self, step: int, signal: int = signal.SIGTERM) -> None:
        self.step, self.signal = step, signal

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step and trainer.is_global_zero:
            os.kill(os.getpid(), self.signal)


class Warn(pl.Callback):
    """Sends its own process SLURM's warning while it tests."""

    def on_test_batch_end(self, *_: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)


def stopping(step: int, number: int = signal.SIGTERM) -> list[str]:
    target = f"+callbacks.stop._target_={__name__}.Terminate"
    return [target, f"+callbacks.stop.step={step}", f"+callbacks.stop.signal={int(number)}"]


@pytest.mark.parametrize("experiment", rest_is_slow(list(MODELS), 1))
def test_a_run_stopped_by_sigterm_in_an_epoch_goes_on_as_if_it_never_was(command, tmp_path, experiment):
    words = [f"experiment={experiment}", *MODELS[experiment], "trainer.log_every_n_steps=5"]
    assert command("train", *words, "hydra.run.dir=straight").code == 0
    outcome = command("train", *words, *stopping(17), "hydra.run.dir=stopped")
    assert outcome.code == 128 + signal.SIGTERM
    (said,) = beyond_progress(outcome.err)
    assert (
        said == f"stopped by SIGTERM after step 17; to go on: python train.py resume={tmp_path}/stopped 'trust=[tests]'"
    )
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    saved = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    assert (saved["global_step"], saved["epoch"]) == (17, 1)
    assert not (stopped / "results.json").exists()
    outcome = command("train", f"resume={stopped}", "trust=[tests]")
    assert outcome.code == 0, outcome.err
    assert timeless(stopped) == timeless(straight)
    assert results(stopped)["metrics"] == results(straight)["metrics"]
    for which in ("last", "best"):
        assert same_bits(*(weights(folder / "checkpoints" / f"{which}.ckpt") for folder in (straight, stopped)))


def test_the_last_checkpoint_is_that_of_the_last_epoch_also_where_validation_grew_worse(command, tmp_path):
    outcome = command("train", *SMALL, "callbacks.checkpoint.mode=max", "hydra.run.dir=run")  # the worst is "best"
    assert outcome.code == 0, outcome.err
    steps = {
        which: torch.load(tmp_path / "run" / "checkpoints" / f"{which}.ckpt", weights_only=True)["global_step"]
        for which in ("best", "last")
    }
    assert steps == {"best": 13, "last": 26}


@pytest.mark.slow
def test_sigterm_stops_several_processes_at_the_same_step(tmp_path):
    """Of which the first alone gets it. In Lightning they wait for each other for ever."""
    run = tmp_path / "run"
    words = [*SMALL, "trainer=ddp_sim", "trainer.max_epochs=3", *stopping(10), f"hydra.run.dir={run}"]
    command = [sys.executable, str(ROOT / "train.py")]
    stopped = subprocess.run([*command, *words], cwd=tmp_path, env=os.environ | TESTS, stderr=PIPE, timeout=200)
    assert stopped.returncode == 128 + signal.SIGTERM
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step == 10
    assert f"stopped by SIGTERM after step {step}; to go on" in stopped.stderr.decode()
    resumed = subprocess.run(
        [*command, f"resume={run}", "trust=[tests]"], cwd=tmp_path, env=os.environ | TESTS, timeout=200
    )
    assert resumed.returncode == 0
    assert results(run)["steps"] == 3 * 7


SLURM = {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "run", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture
def slurm(tmp_path):
    """SLURM's variables, and a command in place of its scontrol, which writes its words down."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    return os.environ | TESTS | SLURM | {"PATH": f"{scontrol.parent}:{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["preempted", "out of time"])
def test_a_job_of_slurm_saves_before_it_ends_and_asks_for_another_turn(tmp_path, slurm, number):
    """As far as it can be seen without SLURM."""
    train = ROOT / "train.py"
    words = [*SMALL, "trainer.max_epochs=3"]
    run = tmp_path / "run"
    command = [sys.executable, str(train), *words, *stopping(17, number), f"hydra.run.dir={run}"]
    done = subprocess.run(command, cwd=tmp_path, env=slurm, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert f"to go on: python train.py resume={run}" in done.stderr
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 17
    assert not list(run.glob("hpc_ckpt*"))
    asked = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    assert asked == ("requeue 77\n" if number == signal.SIGUSR1 else "")
    done = subprocess.run(
        [sys.executable, str(train), f"resume={run}", "trust=[tests]"], cwd=tmp_path, env=slurm, timeout=100
    )
    assert done.returncode == 0
    assert json.loads((run / "results.json").read_text())["steps"] == 3 * 13


@pytest.mark.slow
def test_slurms_warning_within_the_test_asks_for_another_turn_and_ends_nothing(tmp_path, slurm):
    words = [*SMALL, f"+callbacks.stop._target_={__name__}.Warn", "hydra.run.dir=run"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, env=slurm, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "SLURM's time is nearly up" in done.stderr
    assert set((tmp_path / "asked").read_text().splitlines()) == {"requeue 77"}
    assert (tmp_path / "run" / "results.json").exists()


WRITER = """
import sys, torch
from discrete_latents.callbacks.checkpoint import WholeFiles
number = 0
while True:
    WholeFiles().save_checkpoint({"weights": torch.full((1_000_000,), number)}, sys.argv[1])
    print(number, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_the_former_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        written = int(process.stdout.readline())
    while not list(tmp_path.glob("*.partial")):
        pass
    process.kill()
    rest = process.communicate()[0].split()
    weights = torch.load(path, weights_only=True)["weights"]
    assert weights.unique().tolist() in ([written + len(rest)], [written + len(rest) + 1])


def test_a_disk_that_is_full_leaves_the_former_checkpoint_and_says_so(command, finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    before = {name: file for name, file in snapshot(run).items() if name.startswith("checkpoints")}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write past the limit is an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        outcome = command("train", f"resume={run}", "trainer.max_epochs=4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert outcome.code == 1
    (said,) = beyond_progress(outcome.err)
    assert said == f"error: {run}/checkpoints/best.ckpt cannot be written: File too large"
    assert {name: file for name, file in snapshot(run).items() if name.startswith("checkpoints")} == before
