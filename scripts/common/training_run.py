"""Runs of train.py, each in its own process: resumed if stopped, not repeated if completed."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock, Timeout

from discrete_latents.runs.directory import RunDirectory
from scripts.common.paths import TRAIN


def completed_results(folder: Path, steps: int | None = None) -> dict[str, Any] | None:
    """The results.json of a completed run; None for any other folder, and for fewer than so many steps."""
    content = RunDirectory(folder).read_results()
    return content if content.get("status") == "completed" and content.get("steps", 0) >= (steps or 0) else None


def completed_run(
    overrides: Sequence[str], folder: Path, quiet: bool = False, steps: int | None = None
) -> dict[str, Any] | None:
    """The results of `python train.py overrides…` in a folder, trained only as far as it is not yet.

    Returns None if the run failed, or if another process holds its lock. quiet: one thread, and all output goes to
    FOLDER.log. steps: what a run is trained to, also one that was completed with fewer.
    """
    length = [] if steps is None else [f"trainer.max_steps={steps}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(Timeout), FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
        if completed_results(folder, steps) is None:
            where = [f"resume={folder}", *length]
            if not RunDirectory(folder).last.is_file():
                shutil.rmtree(folder, ignore_errors=True)  # it has no checkpoint to resume from
                where = [*overrides, *length, f"hydra.run.dir={folder}"]
            environment = os.environ | ({"OMP_NUM_THREADS": "1"} if quiet else {})
            with folder.with_name(f"{folder.name}.log").open("a") if quiet else nullcontext() as log:
                subprocess.run([sys.executable, str(TRAIN), *where], stdout=log, stderr=log, env=environment)
    return completed_results(folder, steps)


def logged(folder: Path, name: str) -> list[float]:
    """All values of a metric in a run's metrics.csv."""
    with RunDirectory(folder).metrics.open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def mean_of_last(folder: Path, name: str, parts: int) -> float:
    """The mean of a metric over the last of `parts` equal parts of a run."""
    values = logged(folder, name)
    return mean(values[-max(1, len(values) // parts) :])
