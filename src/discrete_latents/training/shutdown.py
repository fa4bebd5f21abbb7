"""How training ends: other processes, loggers, and signals."""

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents.config.printed_command import command, setting


@contextmanager
def ending(trainer: pl.Trainer) -> Iterator[None]:
    """Ends the trainer's other processes and the loggers' runs, whatever happened. Raises KeyboardInterrupt where
    Lightning makes Ctrl-C an exit like any other, and gives SIGTERM its exit code and a line."""
    failed = True
    try:
        yield
        failed = False
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        if isinstance(stop, SIGTERMException):
            saved = (Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt").is_file()
            again = command("python", "train.py", setting("resume", trainer.default_root_dir))
            how = f"; to go on: {again}" if saved else ""
            rank_zero_only(print)(f"stopped by SIGTERM after step {trainer.global_step}{how}", file=sys.stderr)
            raise SIGTERMException(128 + signal.SIGTERM) from stop
        raise
    finally:
        finish(trainer, failed)
        close(trainer.loggers, failed)


def finish(trainer: pl.Trainer, failed: bool) -> None:
    """Ends the group of processes, and waits for those that the trainer started; after a failure, and where they do not
    end by themselves, kills them."""
    started = getattr(trainer.strategy.launcher, "procs", [])
    children: list[subprocess.Popen[bytes]] = list(started)
    started.clear()  # Lightning, which looks after them, would kill this process too if one has failed
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


def close(loggers: Iterable[Logger], failed: bool) -> None:
    """Ends every logger's run, so that the next job of a sweep starts its own."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish(exit_code=int(failed))
