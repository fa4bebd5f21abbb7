"""Ctrl-C and SIGTERM, once and again, in every part of a run: one line that says how to go on, and a run that does, as
the shell gets it. Each command is a process of its own.
"""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest

from discrete_latents.runs.directory import RunDirectory
from scripts.soak import differences
from tests.cli.conftest import ROOT, SMALL, beyond_progress
from tests.helpers.tables import rest_is_slow
from tests.helpers.witness import TESTS

ENVIRONMENT = os.environ | TESTS | {"OMP_NUM_THREADS": "1"}
WORDS = SMALL
ONCE = Path(os.environ.get("INTERRUPT_ONCE", "once"))


class Interrupt(pl.Callback):
    """Sends its process signals, one after the other, when a hook is called for the n-th time; with a file `once` in
    the start's folder, which it deletes, and otherwise never."""

    def __init__(self, hook: str, call: int = 2, signals: tuple[int, ...] = (int(signal.SIGINT),)) -> None:
        self.calls = 0

        def send(*_: object) -> None:
            self.calls += 1
            if self.calls == call and ONCE.exists():
                ONCE.unlink()
                for number in signals:
                    os.kill(os.getpid(), number)

        setattr(self, hook, send)


def interrupt(hook: str, *signals: int) -> list[str]:
    target = f"+callbacks.interrupt._target_={__name__}.Interrupt"
    return [target, f"+callbacks.interrupt.hook={hook}", f"+callbacks.interrupt.signals={[*map(int, signals)]}"]


def launched(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command for which Ctrl-C is what it is in a terminal, also where the tests run in the background."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=ENVIRONMENT | {"INTERRUPT_ONCE": str(cwd / "once")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def pasted(said: str, cwd: Path) -> None:
    """Runs the command at the end of a line through bash, with a `python` that finds train.py."""
    line = said.partition("to go on: ")[2].replace("python train.py", f"{shlex.quote(sys.executable)} {ROOT}/train.py")
    done = subprocess.run(["bash", "-c", line], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, (line, done.stderr)


@pytest.fixture
def straight(finished) -> RunDirectory:
    return RunDirectory(finished.folder)


TERM, INT = signal.SIGTERM, signal.SIGINT
MOMENTS = {
    "Ctrl-C in training": ("on_train_batch_start", (INT,), 1),
    "SIGTERM twice in training": ("on_train_batch_start", (TERM, TERM), 143),
    "Ctrl-C in validation": ("on_validation_batch_start", (INT,), 1),
    "Ctrl-C in the test": ("on_test_batch_start", (INT,), 1),
    "Ctrl-C before training": ("on_fit_start", (INT,), 1),
    "Ctrl-C twice in training": ("on_train_batch_start", (INT, INT), 1),
    "SIGTERM twice in validation": ("on_validation_batch_start", (TERM, TERM), 143),
    "SIGTERM twice in the test": ("on_test_batch_start", (TERM, TERM), 143),
}


@pytest.mark.parametrize("moment", rest_is_slow(list(MOMENTS), 0))
def test_a_run_that_was_interrupted_goes_on_by_the_line_that_it_printed(straight, tmp_path, moment):
    hook, signals, code = MOMENTS[moment]
    words = [*WORDS, *interrupt(hook, *signals), "+callbacks.interrupt.call=1", "hydra.run.dir=a run"]
    (tmp_path / "once").touch()
    done = launched(str(ROOT / "train.py"), *words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (said,) = beyond_progress(done.stderr)
    assert "to go on: python train.py " in said
    assert "'trust=[tests]'" in said
    assert not (tmp_path / "a run" / "results.json").exists()
    pasted(said, tmp_path)
    assert differences(straight, RunDirectory(tmp_path / "a run")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [INT, TERM])
def test_a_sweep_that_was_interrupted_says_how_to_go_on(straight, tmp_path, number):
    """In the second job's training, in which alone the hook is called so often."""
    words = [
        "-m",
        *WORDS,
        *interrupt("on_train_batch_start", number),
        "+callbacks.interrupt.call=0,1",
        "hydra.sweep.dir=s",
    ]
    (tmp_path / "once").touch()
    done = launched(str(ROOT / "train.py"), *words, cwd=tmp_path)
    assert done.returncode == (1 if number == INT else 143), done.stderr
    said = beyond_progress(done.stderr)[-1]
    assert "to go on: python train.py sweep.resume=s 'trust=[tests]'" in said
    pasted(said, tmp_path)
    for job in ("0", "1"):
        assert differences(straight, RunDirectory(tmp_path / "s" / job)) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [INT, TERM])
def test_a_search_that_was_interrupted_goes_on_by_the_same_command(tmp_path, number):
    words = ["-m", "discrete_latents.search", *WORDS, "search.trials=2", "search.dir=found"]
    words += [*interrupt("on_train_batch_start", number), "+callbacks.interrupt.call=20"]
    (tmp_path / "once").touch()
    done = launched(*words, cwd=tmp_path)
    assert done.returncode == (130 if number == INT else 143), done.stderr
    assert "the same command goes on from here" in done.stdout
    done = launched(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
