"""Ends a run: its other processes, its loggers, and what Ctrl-C and SIGTERM become."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig

from discrete_latents.config.saved import way_on
from discrete_latents.lightning_internals import use_given_sigterm_handler
from discrete_latents.parent import known_to_children, launching_parent

P = ParamSpec("P")
R = TypeVar("R")

STOPPED = 128 + signal.SIGTERM
"""The exit code of a process that SIGTERM has stopped."""


def heeds_sigterm(run: Callable[Concatenate[DictConfig, P], R]) -> Callable[Concatenate[DictConfig, P], R]:
    """Makes a function of a run's configuration stop at once when SIGTERM comes: in set-up, validation and tests. In
    training `StopSignals` has it wait for the end of a step. Handlers that others have set stay."""

    @wraps(run)
    def heeding(config: DictConfig, *arguments: P.args, **settings: P.kwargs) -> R:
        others = threading.current_thread() is not threading.main_thread()
        if others or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            return run(config, *arguments, **settings)
        signal.signal(signal.SIGTERM, stop_at_once)
        try:
            return run(config, *arguments, **settings)
        except SIGTERMException as stop:
            if stop.code != STOPPED:
                say_stopped("before training", config.paths.output_dir)
            raise SIGTERMException(STOPPED) from stop
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    return heeding


def stop_at_once(*_: object) -> None:
    """Raises SIGTERMException. A process that Lightning started leaves that to the first, which ends the others."""
    if (parent := launching_parent()) is not None:
        os.kill(parent, signal.SIGTERM)
        return
    raise SIGTERMException


@rank_zero_only
def say_stopped(when: str, folder: str) -> None:
    """Says that SIGTERM has stopped a run, and how it goes on, if it does."""
    print("; ".join(filter(None, (f"stopped by SIGTERM {when}", way_on(folder)))), file=sys.stderr)


@contextmanager
def orderly_shutdown(trainer: pl.Trainer) -> Iterator[None]:
    """Ends the trainer's other processes and its loggers, after success and failure alike.

    Raises KeyboardInterrupt for Ctrl-C, which Lightning turns into SystemExit. After SIGTERM prints how to resume and
    exits with the signal's code, 143.
    """
    failed = True
    use_given_sigterm_handler(trainer)
    try:
        with known_to_children():
            yield
        failed = False
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        if isinstance(stop, SIGTERMException):
            if signal.getsignal(signal.SIGTERM) == stop_at_once:  # a second one shall not disturb what follows
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if launching_parent() is not None:
                time.sleep(60)  # the first process ends this one: Lightning would kill it, if this one ended before
            tested = trainer.state.fn == TrainerFn.TESTING
            step = f"after step {trainer.global_step}"
            say_stopped(f"in the test, {step}" if tested else step, trainer.default_root_dir)
            raise SIGTERMException(STOPPED) from stop
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
