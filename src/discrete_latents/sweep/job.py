"""One sweep job: locked, run at most once, resumed from its last checkpoint.

Its state is in its directory alone, so that another process, with any of Hydra's launchers, can finish the sweep.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from discrete_latents.config.compose import chosen_names, dotted
from discrete_latents.config.migration import renamed
from discrete_latents.config.overrides import key
from discrete_latents.config.paths import path_override
from discrete_latents.config.saved import checked_config, same_as, start_from
from discrete_latents.config.saved_secrets import unmask
from discrete_latents.errors import NotApplicable, Tracebacks, UserError, one_line
from discrete_latents.process import is_first
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.lock import hold
from discrete_latents.runs.results import write_results
from discrete_latents.secrecy import masked_override
from discrete_latents.sweep.processes import check_launcher, in_own_process, in_thread, job_processes
from discrete_latents.training.new_run import clear

log = logging.getLogger(__name__)

DONE = ("completed", "not applicable")
"""The status of a job that is not run again."""


def run_job(task: Callable[[DictConfig], Any], config: DictConfig) -> None:
    """Runs a job in its directory, resuming from its last checkpoint; a completed job is left as it is.

    A failure is written into results.json and not raised: the other jobs go on.
    """
    hydra: Any = HydraConfig.get()
    run = RunDirectory(hydra.runtime.output_dir)
    sweep = os.path.realpath(os.path.join(hydra.runtime.cwd, hydra.sweep.dir))
    if not Path(os.path.realpath(run)).is_relative_to(sweep):
        raise UserError(f"hydra.sweep.subdir must name a folder in {sweep}, got {hydra.sweep.subdir}")
    killed = run.holder.exists()

    def wait(_: str) -> None:
        nonlocal killed
        killed = False
        log.warning("waiting for another process that runs the job in %s", run)

    with hold(run, wait):
        if other := other_run(run, hydra):
            print(one_line(f"error: job {hydra.job.num} is not started: {other}"), file=sys.stderr, flush=True)
            return
        try:
            status = run.read_results().get("status")
        except UserError as error:
            print(one_line(f"job {hydra.job.num} is left as it is: {error}"), flush=True)
            return
        try:
            killed &= run.last.is_file()
            if status in DONE and not (killed and status == "completed"):  # what comes after the test may be missing
                print(one_line(f"{run} is {status}"), flush=True)
                return
            config = prepare_job(run, config, hydra)
            arguments = start_from(config, output=run.folder)
            arguments += [path_override("hydra.sweep.dir", hydra.sweep.dir), f"hydra.job.num={hydra.job.num}"]
            check_launcher(config.trainer, hydra.launcher)
            with nullcontext() if in_thread() else job_processes(arguments):
                task(config)
        except SIGTERMException:
            raise
        except NotApplicable as error:
            record_end(run, hydra, config.get("seed"), "not applicable", str(error))
        except UserError as error:
            Tracebacks.show()
            record_end(run, hydra, config.get("seed"), "failed", str(error))
        except (Exception, SystemExit) as error:
            log.exception("job %s failed", hydra.job.num)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            record_end(run, hydra, config.get("seed"), "failed", reason)


def other_run(run: RunDirectory, hydra: DictConfig) -> str | None:
    """What is wrong with a job's directory that holds a run of other settings; None where it is the job's own."""
    if run.trace() is None:
        return None
    try:
        saved = run.read_hydra()
    except UserError:
        return f"{run} holds a run that is not of this sweep"
    its = [own_overrides(each) for each in (saved, hydra)]
    return None if its[0] == its[1] else f"{run} holds a run of {' '.join(its[0])}"


def own_overrides(hydra: DictConfig) -> list[str]:
    """The overrides that define a job, by the names that settings have now, any ${…} in them unresolved."""
    return without_launcher(unresolved(OmegaConf.select(hydra, "overrides.task", default=())))


def unresolved(overrides: ListConfig | tuple[()]) -> list[str]:
    """Overrides as they were given, with any ${…} in them; settings by the names that they have now."""
    given: Any = OmegaConf.to_container(overrides) if isinstance(overrides, ListConfig) else overrides
    return [renamed(override) for override in given]


def without_launcher(overrides: Sequence[str]) -> list[str]:
    """The overrides that define a job, without those that say how it is launched."""
    return [
        masked_override(item)  # as it is saved
        for item in overrides
        if key(item) != "launcher" and not key(item).startswith(("hydra.", "hydra/"))
    ]


def prepare_job(run: RunDirectory, config: DictConfig, hydra: DictConfig) -> DictConfig:
    """The configuration to run a job with: the saved one with `resume` where there is a checkpoint, else the given one.
    The saved one may name what the given one names.

    Without a checkpoint, what an earlier start has written is deleted, and the configuration is saved.
    """
    if run.last.is_file():
        given, config = config, checked_config(run, own=same_as(config), secrets=False)
        unmask(config, {name: OmegaConf.select(given, name) for name in dotted(OmegaConf.to_container(given))})
        config.resume = str(run)
        run.results.unlink(missing_ok=True)
    elif is_first():
        clear(run)
        run.save_config(config, hydra)
    if not in_own_process(hydra.launcher):
        with open_dict(config):
            config.trainer.enable_progress_bar = False  # bars of several processes would overwrite each other
    return config


def record_end(run: RunDirectory, hydra: DictConfig, seed: Any, status: str, message: str) -> None:
    """Writes into results.json why a job has no results, and prints it. The results of a job that is done stand."""
    with suppress(UserError):  # a damaged file is replaced
        if run.read_results().get("status") in DONE:
            log.warning("after its test, whose results stand: job %s: %s", hydra.job.num, one_line(message))
            return
    write_results(run, chosen_names(hydra.runtime.choices) | {"seed": seed, "status": status, "error": message})
    print(one_line(f"job {hydra.job.num} {'is ' * (status in DONE)}{status}: {message}"), flush=True)
