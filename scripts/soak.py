"""A run that is killed and resumed again and again, against one that is left alone.

    python scripts/soak.py                                           # 50 kills of the default experiment, on digits
    python scripts/soak.py --kills 10 --seed 3 experiment=ssl_digits latent=rloo

Each kill is SIGKILL or SIGTERM, drawn at random, and so is its moment: while the process starts or restores, at any
time in training, or while a checkpoint is being written, as its .partial file tells; the first is while it starts.
Then the run is resumed, as a user would, with `resume=RUN`. At the end its weights, optimiser and noise must be those
of the undisturbed run bit for bit, metrics.csv must have its rows, none missing and none twice, and results.json its
metrics. Ends with exit code 1 where they differ.
"""

import argparse
import contextlib
import csv
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from discrete_latents.atomic_write import SUFFIX
from discrete_latents.runs.directory import RunDirectory

SETTINGS = ["callbacks.checkpoint.every_n_steps=5", "trainer.max_epochs=400", "eval_samples=10"]
"""Of both runs: checkpoints within epochs too. 400 epochs outlast 50 kills."""

MOMENTS = ("starting", "training", "writing")


def command(words: Sequence[str], folder: str, log: str) -> None:
    """`python train.py words…` in a process of its own, from a folder, with what it prints in a file."""
    from discrete_latents.cli import train_main

    os.chdir(folder)
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["train.py", *words]
    train_main()


class Soak:
    """One run, over all of its lives."""

    def __init__(self, folder: Path, words: Sequence[str], seed: int) -> None:
        self.folder = folder
        self.run = RunDirectory(folder / "killed")
        self.words = words
        self.random = random.Random(seed)
        # Forked from a process that has imported everything: a life starts in a tenth of the time.
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["discrete_latents.cli", "torch", "lightning.pytorch"])
        self.kills: Counter[tuple[str, str]] = Counter()
        self.half_written = 0
        self.starting = 1.0
        self.restarts = 0

    def start(self, *words: str) -> BaseProcess:
        process = self.processes.Process(target=command, args=(words, str(self.folder), str(self.folder / "log.txt")))
        process.start()
        return process

    def undisturbed(self) -> RunDirectory:
        run = RunDirectory(self.folder / "undisturbed")
        self.processes.Process(target=int).start()  # so that all that follow are forked from one that is ready
        process, started = self.start(*self.words, f"hydra.run.dir={run}"), time.perf_counter()
        while process.is_alive() and not run.metrics.exists():
            time.sleep(0.01)
        self.starting = time.perf_counter() - started
        process.join()
        if process.exitcode:
            sys.exit(f"the undisturbed run failed:\n{(self.folder / 'log.txt').read_text()}")
        return run

    def live(self) -> BaseProcess:
        """Starts the run's next life."""
        self.restarts += self.run.folder.exists() and not self.run.last.is_file()
        if self.run.overrides.is_file():  # the last of its configuration to be written
            return self.start(f"resume={self.run}")
        shutil.rmtree(self.run.folder, ignore_errors=True)
        return self.start(*self.words, f"hydra.run.dir={self.run}")

    def kill(self) -> None:
        """One life, and its end."""
        moment = self.random.choice(MOMENTS) if self.kills else "starting"
        stop = self.random.choice((signal.SIGKILL, signal.SIGTERM))
        process = self.live()
        self.wait(process, moment)
        if process.exitcode is None:
            os.kill(process.pid or 0, stop)
        process.join(timeout=120)
        if process.exitcode not in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
            log = (self.folder / "log.txt").read_text()[-2000:]
            sys.exit(f"exit code {process.exitcode} instead of kill {self.kills.total() + 1}, while {moment}:\n{log}")
        self.kills[stop.name, moment] += 1
        self.half_written += any(self.run.checkpoints.glob(f"*{SUFFIX}"))

    def wait(self, process: BaseProcess, moment: str) -> None:
        """Until the moment has come, or the process is no more."""
        written, first = self.random.randint(1, 4), self.modified(self.run.last)
        if moment == "starting":
            process.join(self.random.uniform(0, self.starting))
            return
        while written and process.exitcode is None:
            if (now := self.modified(self.run.last)) != first:
                written, first = written - 1, now
            time.sleep(0.001)
        if moment == "training":
            process.join(self.random.uniform(0, 0.1))
        while moment == "writing" and process.exitcode is None:
            if any(path.with_name(path.name + SUFFIX).exists() for path in (self.run.last, self.run.best)):
                return

    @staticmethod
    def modified(path: Path) -> int:
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime_ns
        return 0


def differences(one: RunDirectory, other: RunDirectory) -> list[str]:
    """In what two run directories differ, apart from time."""
    found = []
    for name in ("last", "best"):
        first, second = (torch.load(run.checkpoint(name), weights_only=True) for run in (one, other))
        for key in ("epoch", "global_step", "state_dict", "optimizer_states", "noise"):
            if not same(first[key], second[key]):
                found.append(f"{name}.ckpt: {key}")
    first, second = (rows(run) for run in (one, other))
    missing, surplus = (a - b for a, b in ((first, second), (second, first)))
    found += [f"metrics.csv: {missing.total()} rows missing, {surplus.total()} more"] if missing or surplus else []
    first, second = (run.read_results() for run in (one, other))
    return found + [f"results.json: {key}" for key in ("metrics", "epochs", "steps") if first[key] != second[key]]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, bit for bit, whatever they are made of."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def rows(run: RunDirectory) -> Counter[tuple[tuple[str, str], ...]]:
    """The rows of metrics.csv, without speeds."""
    with run.metrics.open(newline="") as file:
        table = list(csv.DictReader(file))
    return Counter(
        tuple((name, cell) for name, cell in row.items() if cell and name != "images_per_second") for row in table
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the signals and their moments")
    parser.add_argument("--folder", type=Path, help="to keep both runs in; without, they are deleted")
    parser.add_argument("words", nargs="*", help="of train.py, as experiment=sbn_digits")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder.absolute(), [*SETTINGS, *arguments.words], arguments.seed)
        undisturbed = soak.undisturbed()
        started = time.perf_counter()
        for _ in range(arguments.kills):
            soak.kill()
        process = soak.live()
        process.join()
        print(f"{'killed while':14}" + "".join(f"{name:>9}" for name in ("SIGKILL", "SIGTERM")))
        for moment in MOMENTS:
            print(f"{moment:14}" + "".join(f"{soak.kills[name, moment]:9}" for name in ("SIGKILL", "SIGTERM")))
        seconds = time.perf_counter() - started
        print(
            f"{soak.kills.total()} kills in {seconds:.0f} s; {soak.half_written} left half a checkpoint beside the "
            f"former one, {soak.restarts} came before the first"
        )
        found = differences(undisturbed, soak.run) if process.exitcode == 0 else [f"exit code {process.exitcode}"]
        if found:
            sys.exit("the runs differ in " + "; ".join(found))
        print("weights, optimiser, noise, metrics.csv and results.json: as those of the undisturbed run, bit for bit")


if __name__ == "__main__":
    main()
