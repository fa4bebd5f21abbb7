"""Training on several processes, alone and in a sweep.

Lightning starts the other processes of a run by repeating its command line. In a sweep that line is the whole sweep,
and what the first job leaves in the environment would make the second wait for processes that no longer are. So while
a job runs, the command line is the job's own; afterwards everything is put back.
"""

import os
import sys
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
"""What Lightning sets and later reads."""


def many(trainer: DictConfig) -> bool:
    """Whether a trainer's configuration is of more than one process."""
    return (
        trainer.get("strategy", "auto") != "auto"
        or trainer.get("devices", 1) not in (1, "1", "auto")
        or trainer.get("num_nodes", 1) != 1
    )


def check_launcher(trainer: DictConfig, launcher: DictConfig) -> None:
    """Raises UserError for a trainer of several processes in a worker process of a launcher, from where Lightning
    cannot start others."""
    kind = launcher._target_.split(".")[-1]
    alone = kind == "BasicLauncher" or (kind == "JoblibLauncher" and launcher.get("n_jobs", -1) == 1)
    if many(trainer) and not alone and kind != "SlurmLauncher":
        raise UserError(
            f"trainer.strategy = {trainer.get('strategy', 'auto')} with trainer.devices = {trainer.get('devices', 1)} "
            f"starts processes, which a job of {kind} cannot; leave the launcher out for one job after another, or "
            "take launcher=submitit_slurm"
        )


def check_start() -> None:
    """Raises UserError where torchrun or srun started several of this command, and each would write into a folder of
    its own; processes but the first leave without a word."""
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
def job_processes(words: Sequence[str]) -> Iterator[None]:
    """While it is open, other processes of this job of a sweep are started by `words`; then this process is again as
    it was."""
    config: Any = HydraConfig.instance().cfg
    command, threads = sys.argv, torch.get_num_threads()
    environment = {name: os.environ.get(name) for name in VARIABLES}
    with read_write(config.hydra):
        config.hydra.run.dir = config.hydra.runtime.output_dir  # what Lightning tells them to write into
    sys.argv = [command[0], *words]
    try:
        yield
    finally:
        sys.argv = command
        torch.set_num_threads(threads)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
