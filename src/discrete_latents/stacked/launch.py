"""Runs the jobs of a sweep in stacks, and one after another those that cannot be stacked."""

import logging
import signal
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.callbacks.stop_signals import RELAY, Relay
from discrete_latents.errors import one_line
from discrete_latents.stacked.groups import group_of, why_alone
from discrete_latents.stacked.stack import STACK, Stack
from discrete_latents.stacked.turns import take_turns
from discrete_latents.training.new_run import hydra_config
from discrete_latents.training.shutdown import STOPPED

log = logging.getLogger(__name__)


def launch_jobs(launcher: Any, jobs: Sequence[Sequence[str]], first: int, size: int) -> list[JobReturn]:
    """Runs jobs, given by their overrides. launcher: as Hydra has set it up. first: the number of the first job.
    size: of a stack, at most."""
    setup_globals()
    hydra = launcher.config.hydra
    configure_log(hydra.hydra_logging, hydra.verbose)
    Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    configs = [composed_job(launcher, overrides, first + index) for index, overrides in enumerate(jobs)]
    stacks, alone = grouped(configs, size)
    log.info("%d jobs: %d in %d stacks, %d alone", len(jobs), len(jobs) - len(alone), len(stacks), len(alone))
    returns: dict[int, JobReturn] = {}
    for stack in [*stacks, *([index] for index in alone)]:
        for index in stack:
            why = f" (alone: {alone[index]})" if index in alone else ""
            log.info(one_line(f"\t#{first + index} : {' '.join(filter_overrides(jobs[index]))}{why}"))
        works = [
            partial(
                run_job,
                hydra_context=launcher.hydra_context,
                task_function=launcher.task_function,
                config=configs[index],
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            for index in stack
        ]
        returned = stacked(works) if len(works) > 1 else [works[0]()]
        returns |= dict(zip(stack, returned, strict=True))
        for index in stack:
            configs[index] = DictConfig({})  # 0.2 MB each
        configure_log(hydra.hydra_logging, hydra.verbose)
    return [returns[index] for index in range(len(jobs))]


def composed_job(launcher: Any, overrides: Sequence[str], number: int) -> DictConfig:
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return config


def grouped(configs: Sequence[DictConfig], size: int) -> tuple[list[list[int]], dict[int, str]]:
    """The jobs of each stack, by their places, and why the others are alone."""
    groups: dict[Hashable, list[int]] = {}
    alone: dict[int, str] = {}
    for index, config in enumerate(configs):
        with hydra_config(config):
            try:
                why = why_alone(config)
                key = None if why else group_of(config)
            except (OmegaConfBaseException, ValueError):
                why, key = "its settings are wrong", None  # the job says how
        if why:
            alone[index] = why
        else:
            groups.setdefault(key, []).append(index)
    stacks = [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]
    alone |= {stack[0]: "no other job has steps like its own" for stack in stacks if len(stack) == 1}
    return [stack for stack in stacks if len(stack) > 1], alone


def stacked(works: Sequence[Any]) -> list[Any]:
    """Runs the jobs of one stack. Raises SIGTERMException where SIGTERM came, once all have saved their state."""
    relay, stack = Relay(), Stack()
    tokens = RELAY.set(relay), STACK.set(stack)
    try:
        with relayed(relay):
            returned = take_turns(works, stack.answer, stopping=lambda: relay.asked)
    finally:
        RELAY.reset(tokens[0])
        STACK.reset(tokens[1])
    if relay.asked:
        raise SIGTERMException(STOPPED)
    return returned


@contextmanager
def relayed(relay: Relay) -> Iterator[None]:
    """Hands SIGTERM on to the runs of a stack, where nothing else handles it."""
    others = threading.current_thread() is not threading.main_thread()
    if others or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, relay.ask)
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
