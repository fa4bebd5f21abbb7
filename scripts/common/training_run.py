"""Runs of train.py that a script starts: each in a process of its own, not repeated once completed."""

import csv
import json
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

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def results(folder: Path) -> dict[str, Any] | None:
    """What a completed run came to; None for any other folder."""
    path = folder / "results.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    return content if content.get("status") == "completed" else None


def run(words: Sequence[str], folder: Path, quiet: bool = False) -> dict[str, Any] | None:
    """The results of `python train.py words…` in a folder: of the run that is there, continued where it was stopped.

    None where it failed, or another process is at it. quiet: what it prints goes to FOLDER.log, and it has one thread.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(Timeout), FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
        if results(folder) is None:
            where = [f"resume={folder}"]
            if not (folder / "checkpoints" / "last.ckpt").is_file():
                shutil.rmtree(folder, ignore_errors=True)  # stopped or failed before there was anything to go on from
                where = [*words, f"hydra.run.dir={folder}"]
            environment = os.environ | ({"OMP_NUM_THREADS": "1"} if quiet else {})
            with folder.with_name(f"{folder.name}.log").open("a") if quiet else nullcontext() as log:
                subprocess.run([sys.executable, str(TRAIN), *where], stdout=log, stderr=log, env=environment)
    return results(folder)


def logged(folder: Path, name: str) -> list[float]:
    """The values of a metric in a run's metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def mean_of_last(folder: Path, name: str, parts: int) -> float:
    """The mean of a metric over the last of so many parts of a run."""
    values = logged(folder, name)
    return mean(values[-max(1, len(values) // parts) :])
