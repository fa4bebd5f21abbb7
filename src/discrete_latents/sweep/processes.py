"""Training on several processes, alone and in a sweep.

Lightning starts the other processes of a run by repeating this process's command line. In a sweep that line would start
the whole sweep again, and the environment that Lightning leaves behind would make the next job wait for processes that
have ended. So the command line is the job's own while a job runs, and everything is restored afterwards.
"""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from omegaconf import DictConfig, read_write

from discrete_latents.config.overrides import argument, multirun
from discrete_latents.errors import UserError
from discrete_latents.process import is_first

VARIABLES = (
    *("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("PL_GLOBAL_SEED", "OMP_NUM_THREADS"),
)
"""Environment variables that Lightning sets and later reads."""


def several_processes(trainer: DictConfig) -> bool:
    """Whether a trainer of this configuration may use more than one process."""
    return (
        trainer.get("strategy", "auto") != "auto"
        or trainer.get("devices", 1) not in (1, "1", "auto")
        or trainer.get("num_nodes", 1) != 1
    )


def in_own_process(launcher: DictConfig) -> bool:
    """Whether a launcher runs the jobs in this process, one after another."""
    return launcher._target_.endswith("BasicLauncher")


def in_thread() -> bool:
    """Whether this job runs beside others of this process, which start no processes."""
    return threading.current_thread() is not threading.main_thread()


def check_launcher(trainer: DictConfig, launcher: DictConfig) -> None:
    """Raises UserError for a trainer of several processes in a launcher's worker, which cannot start processes, and for
    stacks of no size."""
    kind = launcher._target_.split(".")[-1]
    if kind == "StackedLauncher" and launcher.size < 1:
        raise UserError(f"hydra.launcher.size must be at least 1, got {launcher.size}")
    alone = (
        in_own_process(launcher)
        or kind == "StackedLauncher"
        or (kind == "JoblibLauncher" and launcher.get("n_jobs", -1) == 1)
    )
    if several_processes(trainer) and not alone and kind != "SlurmLauncher":
        raise UserError(
            f"trainer.strategy = {trainer.get('strategy', 'auto')} with trainer.devices = {trainer.get('devices', 1)} "
            f"starts processes, which a job of {kind} cannot; leave the launcher out for one job after another, or "
            "take launcher=submitit_slurm"
        )


def check_start() -> None:
    """Raises UserError where torchrun or srun started this command several times and each process would write into a
    folder of its own. Processes other than the first exit silently."""
    environment = next((kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()), None)
    if environment is None or environment.world_size() == 1:
        return
    if multirun() or not (argument("hydra.run.dir") or argument("resume")):
        if not is_first():
            sys.exit(1)
        if multirun():
            raise UserError("a sweep is not started by torchrun or srun; launcher=submitit_slurm runs its jobs")
        raise UserError(
            f"hydra.run.dir must be given where torchrun or srun starts {environment.world_size()} processes, so that "
            "all write into one folder"
        )


@contextmanager
def job_processes(arguments: Sequence[str]) -> Iterator[None]:
    """Lets Lightning start the other processes of a sweep's job with `arguments`; then restores this process."""
    config: Any = HydraConfig.instance().cfg
    command, threads = sys.argv, torch.get_num_threads()
    environment = {name: os.environ.get(name) for name in VARIABLES}
    with read_write(config.hydra):
        config.hydra.run.dir = config.hydra.runtime.output_dir  # Lightning passes it on
    sys.argv = [command[0], *arguments]
    try:
        yield
    finally:
        sys.argv = command
        torch.set_num_threads(threads)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
