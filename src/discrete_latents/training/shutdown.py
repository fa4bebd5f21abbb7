"""Ends a run: its other processes, its loggers, and what Ctrl-C and SIGTERM become."""

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents.config.printed_command import command, program, setting
from discrete_latents.runs.directory import RunDirectory


@contextmanager
def orderly_shutdown(trainer: pl.Trainer) -> Iterator[None]:
    """Ends the trainer's other processes and its loggers, after success and failure alike.

    Raises KeyboardInterrupt for Ctrl-C, which Lightning turns into SystemExit. After SIGTERM prints how to resume and
    exits with the signal's code, 143.
    """
    failed = True
    try:
        yield
        failed = False
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        if isinstance(stop, SIGTERMException):
            saved = RunDirectory(trainer.default_root_dir).last.is_file()
            again = command(*program("train"), setting("resume", trainer.default_root_dir))
            how = f"; to go on: {again}" if saved else ""
            rank_zero_only(print)(f"stopped by SIGTERM after step {trainer.global_step}{how}", file=sys.stderr)
            raise SIGTERMException(128 + signal.SIGTERM) from stop
        raise
    finally:
        end_processes(trainer, failed)
        close_loggers(trainer.loggers, failed)


def end_processes(trainer: pl.Trainer, failed: bool) -> None:
    """Leaves the process group and waits for the processes that the trainer started. Kills them after a failure, and
    after a minute."""
    started = getattr(trainer.strategy.launcher, "procs", [])
    children: list[subprocess.Popen[bytes]] = list(started)
    started.clear()  # Lightning watches these, and kills this process if one has failed
    if failed:
        for child in children:
            child.kill()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for child in children:
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def close_loggers(loggers: Iterable[Logger], failed: bool) -> None:
    """Ends each logger's run, so that the next job of a sweep starts its own."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish(exit_code=int(failed))
