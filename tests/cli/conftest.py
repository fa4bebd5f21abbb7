"""Command lines as a user gives them: in a subprocess, or, where many are tried, in this process."""

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning
from hydra.core.global_hydra import GlobalHydra

with warnings.catch_warnings():
    warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)  # OmegaConf's DictConfig
    from discrete_latents import cli

ROOT = Path(__file__).parents[2]

SMALL = [
    "model.num_latents=3",
    "model.num_classes=4",
    "model.network.hidden=[16]",
    "lr_schedule.hold=1.0",  # no learning rate that depends on how long training is
    "trainer.max_epochs=2",
    "eval_samples=20",
]
"""A model that trains in no time."""


@dataclass
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str


def shell(script: str, *words: str, cwd: Path, **variables: str) -> Outcome:
    """Runs `python train.py …` or `python eval.py …` in a subprocess."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"} | variables
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass
class Run:
    """A run that came to its end."""

    folder: Path
    cwd: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two epochs, started in another folder than the checkout, its own folder having a space in its name.

    Tests that write into it copy it first.
    """
    cwd = tmp_path_factory.mktemp("elsewhere")
    folder = tmp_path_factory.mktemp("runs") / "a run"
    outcome = shell("train.py", *SMALL, f"hydra.run.dir='{folder}'", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return Run(folder, cwd, outcome)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Outcome]]:
    """Gives `command("train", *words)`, a command line in this process and a folder of its own: what is global
    is put back, and annotations are not checked, since what a wrong setting leads to is what a user sees."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    environment = dict(os.environ)

    def call(name: str, *words: str, cwd: Path = tmp_path) -> Outcome:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        capfd.readouterr()
        code = 0
        try:
            getattr(cli, f"{name}_main")()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            GlobalHydra.instance().clear()
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    jaxtyping.config.update("jaxtyping_disable", True)
    with warnings.catch_warnings():
        yield call
    jaxtyping.config.update("jaxtyping_disable", False)
    torch.set_flush_denormal(False)
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    os.environ.clear()
    os.environ.update(environment)


def beyond_progress(stderr: str) -> list[str]:
    """The lines on stderr that are not progress bars: warnings and the like."""
    return [line for line in stderr.splitlines() if line and not line.startswith(("epoch ", "train ", "test "))]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, its time of change and its content, but for locks, which are empty."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "sweep.lock")
    }


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers in a checkpoint, read without unpickling code."""
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
