"""Two commands, one folder: the second says who is there, and touches nothing. Each first is a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from discrete_latents.errors import UserError
from discrete_latents.process import is_first
from discrete_latents.runs import lock
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.lock import hold
from tests.cli.conftest import ROOT, SMALL, snapshot
from tests.cli.test_multirun import results

QUICK = [*SMALL, "callbacks.pictures.every_n_epochs=0"]
ONE = [*QUICK, "debug=one_batch"]
ENDLESS = [*QUICK, "trainer.max_epochs=100000"]
"""A run that is killed."""


def started(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """`python train.py` in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@contextmanager
def live(*words: str, cwd: Path, run: str) -> Iterator[subprocess.Popen[str]]:
    """A command whose run in `run` has trained for an epoch, and stands still meanwhile. It is killed at the end."""
    process = started(*words, cwd=cwd)
    try:
        until = time.monotonic() + 120
        while not RunDirectory(cwd / run).last.is_file():
            assert process.poll() is None, "it ended too early"
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_folder_in_which_a_run_trains_is_left_alone_by_all_others(command, tmp_path):
    (tmp_path / "link").symlink_to("runs/a")
    with live(*ENDLESS, "hydra.run.dir=runs/a", cwd=tmp_path, run="runs/a") as process:
        before = snapshot(tmp_path)
        for words in (
            *([*ONE, word] for word in ("hydra.run.dir=runs/a", "hydra.run.dir=link", "paths.output_dir=runs/b/../a")),
            *([f"resume={word}"] for word in ("runs/a", "link", f"{tmp_path}/runs/a")),
        ):
            outcome = command("train", *words)
            assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
            assert f"is in use by process {process.pid} on " in outcome.err
            assert ", since 20" in outcome.err
        assert snapshot(tmp_path) == before
        # An evaluation writes beside, and checkpoints are replaced as a whole.
        assert command("eval", "run=runs/a", "ckpt=last").code == 0
    # The system has released the lock of a process that was killed.
    assert (tmp_path / "runs" / "a" / ".lock.txt").exists()
    outcome = command("train", "resume=runs/a", "trainer.max_epochs=1")
    assert "in use" not in outcome.err
    assert not (tmp_path / "runs" / "a" / ".lock.txt").exists()


@pytest.mark.slow
def test_a_sweep_that_runs_is_left_alone_by_all_others(command, tmp_path):
    words = ["-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=sweep"]
    with live(*words, cwd=tmp_path, run="sweep/0") as process:
        before = snapshot(tmp_path)
        for given in (
            ["-m", *ONE, "seed=0,1", "hydra.sweep.dir=sweep"],
            ["sweep.resume=sweep"],
            ["resume=sweep/0"],
            [*ONE, "hydra.run.dir=sweep/0"],
        ):
            outcome = command("train", *given)
            assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
            assert f"is in use by process {process.pid} on " in outcome.err
        assert snapshot(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("what", ["starts", "resumes", "sweeps"])
def test_of_two_at_the_same_time_one_runs(command, tmp_path, what):
    words = {
        "starts": [*QUICK, "trainer.max_epochs=20", "hydra.run.dir=run"],
        "resumes": ["resume=run", "trainer.max_epochs=20"],
        "sweeps": ["-m", *QUICK, "trainer.max_epochs=20", "seed=0", "hydra.sweep.dir=run"],
    }[what]
    if what == "resumes":
        assert command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    processes = [started(*words, cwd=tmp_path) for _ in range(2)]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    refused = [error for process, error in zip(processes, errors, strict=True) if process.returncode == 1]
    assert sorted(process.returncode for process in processes) == [0, 1], errors
    assert "is in use by process " in refused[0]
    assert refused[0].count("\n") == 1
    run = RunDirectory(tmp_path / "run" / ("0" if what == "sweeps" else ""))
    assert (results(run.folder)["status"], results(run.folder)["epochs"]) == ("completed", 20)
    rows = run.metrics.read_text().splitlines()[1:]
    steps = [int(row.split(",")[0]) for row in rows]
    assert steps == sorted(steps)  # of one process
    assert len(set(rows)) == len(rows)


# The lock itself


def test_the_other_processes_of_a_run_hold_nothing(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    with hold(run):
        with pytest.raises(UserError, match=f"in use by process {os.getpid()} on "), hold(run):
            pass
        monkeypatch.setattr(lock, "is_first", lambda: False)
        with hold(run):
            pass
        assert run.holder.exists()
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("holder", [b"", b"\xff\x00\n\x1b[31m", None], ids=repr)
def test_who_holds_it_is_one_line_whatever_is_written_there(tmp_path, holder):
    run = RunDirectory(tmp_path)
    with hold(run):
        run.holder.unlink()
        if holder is not None:
            run.holder.write_bytes(holder)
        with pytest.raises(UserError, match="in use by") as refused, hold(run):
            pass
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(37, "No locks available")], ids=repr)
def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    with hold(RunDirectory(tmp_path)):
        pass


@pytest.mark.parametrize("variables", [{"NODE_RANK": "1"}, {"NODE_RANK": "0"}, {"RANK": "0", "NODE_RANK": "1"}])
def test_the_first_process_of_a_second_machine_is_not_the_first(monkeypatch, variables):
    for name in ("RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first() == (variables != {"NODE_RANK": "1"})


def test_a_folder_that_can_only_be_read_is_one_line(command, tmp_path):
    assert command("train", *ONE, "hydra.run.dir=run").code == 0
    lock_file = tmp_path / "run" / ".lock"
    lock_file.unlink()
    lock_file.mkdir()  # root may write into any folder
    outcome = command("train", "resume=run", "trainer.max_epochs=3")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert "resume = run must be a folder that can be written" in outcome.err


def test_a_folder_of_checkpoints_that_a_live_run_uses_is_left_alone(command, tmp_path):
    """Before its first checkpoint, too."""
    folder = RunDirectory(tmp_path / "shared")
    folder.folder.mkdir()
    shared = f"callbacks.checkpoint.dirpath={folder}"
    with hold(folder):
        outcome = command("train", *ONE, shared, "hydra.run.dir=a")
        assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
        assert outcome.err.startswith(f"error: callbacks.checkpoint.dirpath = {folder}: {folder} is in use by process")
    assert not list(folder.folder.glob("*.ckpt"))
    assert command("train", *ONE, shared, "hydra.run.dir=b").code == 0
    outcome = command("train", *ONE, shared, "hydra.run.dir=c")
    assert (outcome.code, "holds checkpoints already" in outcome.err) == (1, True)
    assert command("train", "resume=b", shared).code == 0
