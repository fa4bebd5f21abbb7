"""One sweep job: locked, run at most once, resumed from its last checkpoint.

Its state is in its directory alone, so that another process, with any of Hydra's launchers, can finish the sweep.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf, open_dict

from discrete_latents.config.compose import chosen_names, dotted
from discrete_latents.config.paths import path_override
from discrete_latents.config.saved import checked_config, same_as, start_from
from discrete_latents.config.saved_secrets import unmask
from discrete_latents.errors import NotApplicable, UserError, one_line
from discrete_latents.process import is_first
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.results import write_results
from discrete_latents.sweep.processes import check_launcher, job_processes

log = logging.getLogger(__name__)

DONE = ("completed", "not applicable")
"""The status of a job that is not run again."""


def run_job(task: Callable[[DictConfig], None], config: DictConfig) -> None:
    """Runs a job in its directory, resuming from its last checkpoint; a completed job is left as it is.

    A failure is written into results.json and not raised: the other jobs go on.
    """
    hydra: Any = HydraConfig.get()
    run = RunDirectory(hydra.runtime.output_dir)
    with job_lock(run):
        try:
            if (status := run.read_results().get("status")) in DONE:
                print(one_line(f"{run} is {status}"), flush=True)
                return
            config = prepare_job(run, config, hydra)
            arguments = start_from(config, output=run.folder)
            arguments += [path_override("hydra.sweep.dir", hydra.sweep.dir), f"hydra.job.num={hydra.job.num}"]
            check_launcher(config.trainer, hydra.launcher)
            with job_processes(arguments):
                task(config)
        except SIGTERMException:
            raise
        except NotApplicable as error:
            record_end(run, hydra, config.get("seed"), "not applicable", str(error))
        except UserError as error:
            record_end(run, hydra, config.get("seed"), "failed", str(error))
        except (Exception, SystemExit) as error:
            log.exception("job %s failed", hydra.job.num)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            record_end(run, hydra, config.get("seed"), "failed", reason)


@contextmanager
def job_lock(run: RunDirectory) -> Iterator[None]:
    """Waits while another process runs the job: a launcher's process can outlive the sweep that started it."""
    lock = FileLock(run.lock)
    try:
        if is_first():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.warning("waiting for another process that runs the job in %s", run)
                lock.acquire()
            except NotImplementedError:  # a file system without locks
                pass
        yield
    finally:
        lock.release()


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
        for path in run.written:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        run.save_config(config, hydra)
    if not hydra.launcher._target_.endswith("BasicLauncher"):
        with open_dict(config):
            config.callbacks.pop("progress", None)  # the bars of several processes would overwrite each other
    return config


def record_end(run: RunDirectory, hydra: DictConfig, seed: Any, status: str, message: str) -> None:
    """Writes into results.json why a job has no results, and prints it."""
    write_results(run, chosen_names(hydra.runtime.choices) | {"seed": seed, "status": status, "error": message})
    print(one_line(f"job {hydra.job.num} {'is ' * (status in DONE)}{status}: {message}"), flush=True)
