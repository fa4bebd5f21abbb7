"""Command lines as a user gives them: in a subprocess, in a copy of this process, or, where many are tried, in it."""

import atexit
import logging
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

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


def forked(script: str, *words: str, cwd: Path) -> Outcome:
    """What `shell` does, in a copy of this process, which has loaded torch and Lightning: in a fifth of the time."""
    if torch.cuda.is_available():  # CUDA does not survive a fork
        return shell(script, *words, cwd=cwd)
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: xdist's thread does not matter here
            child = os.fork()
        if not child:
            try:
                run_as_command(script, words, cwd, out.fileno(), err.fileno())
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0), err.seek(0)
        return Outcome(code, out.read(), err.read())


def run_as_command(script: str, words: tuple[str, ...], cwd: Path, out: int, err: int) -> None:
    """Ends this process as `python SCRIPT WORDS` ends, whose stdout and stderr go to two files."""
    os.dup2(out, 1), os.dup2(err, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    atexit._clear()
    os.chdir(cwd)
    sys.argv = [str(ROOT / script), *words]
    jaxtyping.config.update("jaxtyping_disable", True)
    warnings.resetwarnings()
    warnings.simplefilter("default")
    logging.getLogger().handlers.clear()
    code = 0
    try:
        getattr(cli, f"{Path(script).stem}_main")()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


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
    outcome = forked("train.py", *SMALL, f"hydra.run.dir='{folder}'", cwd=cwd)
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
