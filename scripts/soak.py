"""Kill and resume a run again and again, and compare it with an undisturbed one.

    python -m scripts.soak                                           # 50 kills of the default experiment, on digits
    python -m scripts.soak --kills 10 --seed 3 experiment=ssl_digits latent=rloo

Signal (SIGKILL or SIGTERM) and moment of each kill are random: while the process starts or restores, during training,
or while a checkpoint is written, as its .partial file shows. The first kill comes while the process starts. The run is
then resumed with `resume=RUN`. At the end its weights, optimiser and noise must equal those of the undisturbed run bit
for bit; metrics.csv must have the same rows, each once; results.json must have the same metrics. The exit code is 1 if
anything differs.
"""

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

from discrete_latents.atomic_write import SUFFIX
from discrete_latents.config.command_parser import CommandParser, whole_number
from discrete_latents.runs.directory import RunDirectory

SETTINGS = ["callbacks.checkpoint.every_n_steps=5", "trainer.max_epochs=400", "eval_samples=10"]
"""Of both runs: checkpoints within epochs, and enough epochs for 50 kills."""

MOMENTS = ("starting", "training", "writing")


def run_train(overrides: Sequence[str], folder: str, log: str) -> None:
    """`python train.py overrides…` in this process, from a folder, with its output appended to a file."""
    from discrete_latents.cli import train_main

    os.chdir(folder)
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["train.py", *overrides]
    train_main()


class Soak:
    """A run that is killed and resumed. Each process of it is a life."""

    def __init__(self, folder: Path, overrides: Sequence[str], seed: int) -> None:
        self.folder = folder
        self.run = RunDirectory(folder / "killed")
        self.overrides = overrides
        self.random = random.Random(seed)
        # Lives are forked from a process that has imported everything, and start in a tenth of the time.
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["discrete_latents.cli", "torch", "lightning.pytorch"])
        self.kills: Counter[tuple[str, str]] = Counter()
        self.half_written = 0
        self.starting = 1.0
        self.restarts = 0

    def start(self, *overrides: str) -> BaseProcess:
        process = self.processes.Process(
            target=run_train, args=(overrides, str(self.folder), str(self.folder / "log.txt"))
        )
        process.start()
        return process

    def undisturbed(self) -> RunDirectory:
        """Trains the undisturbed run. Returns it."""
        run = RunDirectory(self.folder / "undisturbed")
        self.processes.Process(target=int).start()  # starts the server, so that the next start is timed without it
        process, started = self.start(*self.overrides, f"hydra.run.dir={run}"), time.perf_counter()
        while process.is_alive() and not run.metrics.exists():
            time.sleep(0.01)
        self.starting = time.perf_counter() - started
        process.join()
        if process.exitcode:
            sys.exit(f"error: the undisturbed run failed:\n{(self.folder / 'log.txt').read_text()}")
        return run

    def live(self) -> BaseProcess:
        """Starts the run's next life."""
        self.restarts += self.run.folder.exists() and not self.run.last.is_file()
        if self.run.overrides.is_file():  # written last of its configuration
            return self.start(f"resume={self.run}")
        shutil.rmtree(self.run.folder, ignore_errors=True)
        return self.start(*self.overrides, f"hydra.run.dir={self.run}")

    def kill(self) -> None:
        """Starts a life, and kills it at a random moment."""
        moment = self.random.choice(MOMENTS) if self.kills else "starting"
        stop = self.random.choice((signal.SIGKILL, signal.SIGTERM))
        process = self.live()
        self.wait(process, moment)
        if process.exitcode is None:
            os.kill(process.pid or 0, stop)
        process.join(timeout=120)
        if process.exitcode not in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
            log = (self.folder / "log.txt").read_text()[-2000:]
            sys.exit(
                f"error: exit code {process.exitcode} instead of kill {self.kills.total() + 1}, while {moment}:\n{log}"
            )
        self.kills[stop.name, moment] += 1
        self.half_written += any(self.run.checkpoints.glob(f"*{SUFFIX}"))

    def wait(self, process: BaseProcess, moment: str) -> None:
        """Waits for the moment, or for the end of the process."""
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
    """What differs between two run directories, times apart."""
    import torch

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
    """Whether two values are equal bit for bit: tensors, dictionaries, sequences and plain values."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def rows(run: RunDirectory) -> Counter[tuple[tuple[str, str], ...]]:
    """The rows of metrics.csv with their counts, without speeds."""
    with run.metrics.open(newline="") as file:
        table = list(csv.DictReader(file))
    return Counter(
        tuple((name, cell) for name, cell in row.items() if cell and name != "images_per_second") for row in table
    )


def main() -> None:
    parser = CommandParser(__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of train.py, for both runs")
    parser.add_argument("--kills", type=whole_number(), default=50, help="number of kills")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the signals and their moments")
    parser.add_argument("--folder", type=Path, help="keeps both runs here, instead of deleting them")
    arguments = parser.parse_intermixed_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder.absolute(), [*SETTINGS, *arguments.overrides], arguments.seed)
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
            sys.exit("error: the runs differ in " + "; ".join(found))
        print("weights, optimiser, noise, metrics.csv and results.json: as those of the undisturbed run, bit for bit")


if __name__ == "__main__":
    main()
