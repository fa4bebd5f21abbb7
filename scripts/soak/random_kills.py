"""A run that is killed at random moments and resumed each time."""

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from discrete_latents.atomic_write import SUFFIX
from discrete_latents.runs.directory import RunDirectory
from scripts.soak.lives import Lives

SETTINGS = ["callbacks.checkpoint.every_n_steps=5", "trainer.max_epochs=400", "eval_samples=10"]
"""Of both runs: checkpoints within epochs, and enough epochs for 50 kills."""

MOMENTS = ("starting", "training", "writing")


class RandomKills:
    """A run that is killed and resumed. Each process of it is a life."""

    def __init__(self, folder: Path, overrides: Sequence[str], seed: int) -> None:
        self.lives = Lives(folder)
        self.run = RunDirectory(folder / "killed")
        self.overrides = [*SETTINGS, *overrides]
        self.random = random.Random(seed)
        self.kills: Counter[tuple[str, str]] = Counter()
        self.half_written = 0
        self.starting = 1.0
        self.restarts = 0

    def undisturbed(self) -> RunDirectory:
        """Trains the undisturbed run. Returns it."""
        run = RunDirectory(self.lives.folder / "undisturbed")
        process, started = self.lives.start(*self.overrides, f"hydra.run.dir={run}"), time.perf_counter()
        while process.is_alive() and not run.metrics.exists():
            time.sleep(0.01)
        self.starting = time.perf_counter() - started
        process.join()
        if process.exitcode:
            sys.exit(f"error: the undisturbed run failed:\n{self.lives.log.read_text()}")
        return run

    def live(self) -> BaseProcess:
        """Starts the run's next life."""
        self.restarts += self.run.folder.exists() and not self.run.last.is_file()
        if self.run.hydra.is_dir():
            return self.lives.start(f"resume={self.run}")
        return self.lives.start(*self.overrides, f"hydra.run.dir={self.run}")

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
            log = self.lives.log.read_text()[-2000:]
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

    def report(self, seconds: float) -> None:
        print(f"{'killed while':14}" + "".join(f"{name:>9}" for name in ("SIGKILL", "SIGTERM")))
        for moment in MOMENTS:
            print(f"{moment:14}" + "".join(f"{self.kills[name, moment]:9}" for name in ("SIGKILL", "SIGTERM")))
        print(
            f"{self.kills.total()} kills in {seconds:.0f} s; {self.half_written} left half a checkpoint beside the "
            f"former one, {self.restarts} came before the first"
        )
