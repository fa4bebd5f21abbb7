"""Hydra's plugin for `launcher=stacked`. Hydra imports it at every start, so it imports nothing large by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher


@dataclass
class StackedConfig:
    """The settings of the launcher."""

    _target_: str = "hydra_plugins.stacked_launcher.StackedLauncher"
    size: int = 64


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedConfig, provider="discrete_latents")


class StackedLauncher(Launcher):
    """Trains the jobs of a sweep in this process, at most `size` at once: see `discrete_latents.stacked`."""

    def __init__(self, size: int) -> None:
        self.size = size

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from discrete_latents.stacked.launch import launch_jobs

        return launch_jobs(self, job_overrides, initial_job_idx, self.size)
