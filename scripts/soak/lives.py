"""Processes of train.py and eval.py that start in a tenth of the time: forked from one that has imported everything."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path


def run_command(name: str, overrides: Sequence[str], folder: str, log: str, prepare: Callable[[], None]) -> None:
    """`python train.py overrides…`, or eval.py, in this process, from a folder, with its output appended to a file."""
    from discrete_latents import cli

    os.chdir(folder)
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [f"{name}.py", *overrides]
    prepare()
    {"train": cli.train_main, "eval": cli.eval_main}[name]()


def nothing() -> None: ...


class Lives:
    """Starts processes in a folder. Their output is in log.txt there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(["discrete_latents.cli", "torch", "lightning.pytorch"])
        self.processes.Process(target=nothing).start()  # starts the server, so that no life is timed with it

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(
        self, *overrides: str, name: str = "train", log: str = "log.txt", prepare: Callable[[], None] = nothing
    ) -> BaseProcess:
        """name: of the command. prepare: called in the process before the command's work."""
        target = partial(run_command, name, overrides, str(self.folder), str(self.folder / log), prepare)
        process = self.processes.Process(target=target)
        process.start()
        return process

    def to_the_end(self, *overrides: str, name: str = "train", prepare: Callable[[], None] = nothing) -> None:
        """A life that nothing stops. Ends this command where it fails."""
        process = self.start(*overrides, name=name, prepare=prepare)
        process.join()
        if process.exitcode:
            said = self.log.read_text()[-2000:]
            sys.exit(f"error: {' '.join(overrides)}: exit code {process.exitcode}:\n{said}")
