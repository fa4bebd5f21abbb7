"""A run, or a sweep, that is stopped at every operation with which it writes into its folder, in order.

Of a file that is opened for writing, at four moments: before; when it is empty; when the first bytes are written; and
then with a disk that is full from there on, for which it ends by itself. Of all others (rename, delete, make a folder)
before. What Python opens is seen, by its audit events; the disk's end is the largest size of a file that the system
allows the process.
"""

import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from discrete_latents.config.overrides import multirun
from discrete_latents.runs.directory import RunDirectory, SweepDirectory
from scripts.soak.comparison import differences
from scripts.soak.lives import Lives

OPENED = ("before", "empty", "torn", "full")
"""The moments of a file that is opened for writing."""

CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
BYTES = 10
"""How much of a file's content is written when it is torn."""


def written_path(event: str, arguments: tuple[Any, ...]) -> Path | None:
    """The path that an audit event is about to write; None for another event."""
    if event == "open":
        path, _, flags = arguments
        return Path(os.fsdecode(path)).absolute() if not isinstance(path, int) and flags & WRITES else None
    if event not in CHANGES:
        return None
    path, *rest = arguments
    folder = rest[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1
    return Path(os.readlink(f"/proc/self/fd/{folder}") if folder != -1 else "", os.fsdecode(path)).absolute()


def watch(folder: str, at: int = 0, moment: str = "before", record: str = "") -> None:
    """Counts this process's writing operations in a folder from 1, and stops it at one of them. record: a file that
    they are listed in."""
    count = 0
    process = os.getpid()
    listed = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if record else None

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        path = written_path(event, arguments)
        if path is None or not path.is_relative_to(folder) or os.getpid() != process:
            return
        if event in ("open", "os.mkdir") and path.is_dir():  # a file without a name, and a folder that exists
            return
        count += 1
        if listed is not None:
            os.write(listed, f"{event} {path.relative_to(folder)}\n".encode())
        if count == at:
            stop(path, arguments, moment)

    sys.addaudithook(hook)


def stop(path: Path, arguments: tuple[Any, ...], moment: str) -> None:
    """Kills this process, or sets the file size at which the system does, or, where it is full, refuses to write."""
    if moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    kept = path.stat().st_size if path.is_file() and not arguments[2] & os.O_TRUNC else 0
    if moment != "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = kept + (0 if moment == "empty" else BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class EveryWrite:
    """The undisturbed run, and others that are stopped once each, and gone on with by what is left.

    overrides: of train.py; a sweep's with hydra.mode=MULTIRUN.
    """

    def __init__(self, folder: Path, overrides: Sequence[str]) -> None:
        self.folder = folder
        self.overrides = list(overrides)
        self.lives = Lives(folder)
        self.undisturbed = folder / "undisturbed"
        self.stopped = folder / "stopped"

    def operations(self) -> list[str]:
        """Trains the undisturbed run. Returns its writing operations, as "open metrics.csv", in order."""
        record = self.folder / "operations.txt"
        self.lives.to_the_end(*self.first(self.undisturbed), prepare=self.watched(self.undisturbed, record=record))
        return record.read_text().splitlines()

    def watched(self, folder: Path, **how: Any) -> Any:
        return partial(watch, str(folder), **{name: str(v) if isinstance(v, Path) else v for name, v in how.items()})

    def first(self, folder: Path) -> list[str]:
        """The command that starts."""
        return [*self.overrides, f"hydra.{'sweep' if multirun(self.overrides) else 'run'}.dir={folder}"]

    def next(self, folder: Path) -> list[str]:
        """The command that goes on: the first one again, where nothing says that there is a run."""
        if multirun(self.overrides):
            return [f"sweep.resume={folder}"] if SweepDirectory(folder).exists else self.first(folder)
        return [f"resume={folder}"] if RunDirectory(folder).hydra.exists() else self.first(folder)

    def found(self, number: int, moment: str) -> list[str]:
        """What differs in a run that is stopped at an operation and gone on with."""
        shutil.rmtree(self.stopped, ignore_errors=True)
        if not self.stops(number, moment, *self.first(self.stopped)):
            return [f"not stopped: {moment} operation {number}"]
        process = self.lives.start(*self.next(self.stopped))
        process.join()
        if process.exitcode:
            return [f"exit code {process.exitcode}: {self.lives.log.read_text().splitlines()[-1]}"]
        return list(self.compared())

    def stops(self, number: int, moment: str, *overrides: str, name: str = "train") -> bool:
        """Runs a command that is to be stopped at an operation; whether it was."""
        how = self.watched(self.stopped, at=number, moment=moment)
        process = self.lives.start(*overrides, name=name, log=os.devnull, prepare=how)
        process.join()
        return bool(process.exitcode) or moment == "full"  # what is after the results is a warning

    def compared(self) -> Iterator[str]:
        one, other = (names(folder) for folder in (self.undisturbed, self.stopped))
        yield from (f"{'more' if name in other else 'missing'}: {name}" for name in sorted(one ^ other))
        for run in SweepDirectory(self.undisturbed).jobs():
            job = run.folder.relative_to(self.undisturbed)
            if not RunDirectory(self.stopped / job).results.is_file():
                yield f"no results in {job}"
                continue
            yield from (f"{job}: {text}" for text in differences(run, RunDirectory(self.stopped / job)))


class EveryWriteOfAnEvaluation(EveryWrite):
    """Evaluations of the undisturbed run, each stopped once: the run stays as it is, the next one measures the same.

    overrides: of the run.
    """

    def operations(self) -> list[str]:
        self.lives.to_the_end(*self.first(self.undisturbed))
        record, copy = self.folder / "operations.txt", shutil.copytree(self.undisturbed, self.folder / "evaluated")
        self.evaluate(copy, prepare=self.watched(copy, record=record))
        return record.read_text().splitlines()

    def evaluate(self, run: Path, **how: Any) -> dict[str, float]:
        """An evaluation that nothing stops. Returns its metrics."""
        self.lives.to_the_end(f"run={run}", name="eval", **how)
        return RunDirectory(max(RunDirectory(run).evaluations.iterdir())).read_results()["metrics"]

    def found(self, number: int, moment: str) -> list[str]:
        shutil.rmtree(self.stopped, ignore_errors=True)
        shutil.copytree(self.undisturbed, self.stopped)
        if not self.stops(number, moment, f"run={self.stopped}", name="eval"):
            return [f"not stopped: {moment} operation {number}"]
        again = self.evaluate(self.stopped)
        found = differences(RunDirectory(self.undisturbed), RunDirectory(self.stopped))
        return found + ["evaluation: metrics"] * (again != RunDirectory(self.undisturbed).read_results()["metrics"])


def names(folder: Path) -> set[str]:
    """The names of a run's files, but those of other loggers, which have a time in them."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in found if "tfevents" not in path.name and "wandb" not in path.parts}


def moments(operation: str) -> Sequence[str]:
    return OPENED if operation.startswith("open ") else OPENED[:1]
