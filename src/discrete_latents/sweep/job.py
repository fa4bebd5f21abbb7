"""A job of a sweep: in a directory of its own, alone in it, done once, and gone on with where it was stopped.

What it came to stands in that directory and nowhere else, so that a sweep can be finished by another process than the
one that began it, with any of Hydra's launchers.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf, open_dict

from discrete_latents.config.overrides import quoted
from discrete_latents.config.saved import saved_config
from discrete_latents.errors import NotApplicable, UserError, one_line
from discrete_latents.runs.results import write_json
from discrete_latents.sweep.processes import check_launcher, is_first, job_processes

log = logging.getLogger(__name__)

DONE = ("completed", "not applicable")
"""How a job ended that is not run again."""

WRITTEN = ("results.json", "metrics.csv", "checkpoints", "images", "tensorboard", "wandb")
"""What a run writes, and what a job that starts anew takes away first."""


def run_job(task: Callable[[DictConfig], None], config: DictConfig) -> None:
    """Runs a job in its directory: not where it is completed, from its last checkpoint where it has one.

    A failure is written into results.json, and is no exception: the other jobs go on.
    """
    hydra: Any = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    with alone(folder):
        if (status := results(folder).get("status")) in DONE:
            print(one_line(f"{folder} is {status}"), flush=True)
            return
        config = prepared(folder, config, hydra)
        words = [f"resume={quoted(folder)}"] if config.resume else saved_config(folder, output=folder)
        words += [f"hydra.sweep.dir={quoted(hydra.sweep.dir)}", f"hydra.job.num={hydra.job.num}"]
        try:
            check_launcher(config.trainer, hydra.launcher)
            with job_processes(words):
                task(config)
        except SIGTERMException:
            raise
        except NotApplicable as error:
            ended(folder, config, hydra, "not applicable", str(error))
        except UserError as error:
            ended(folder, config, hydra, "failed", str(error))
        except (Exception, SystemExit) as error:
            log.exception("job %s failed", hydra.job.num)
            ended(folder, config, hydra, "failed", " ".join(f"{type(error).__name__}: {error}".split()))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits while another process runs the job: one that a launcher started survives the sweep's own."""
    lock = FileLock(folder / ".lock")
    try:
        if is_first():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.warning("waiting for another process that runs the job in %s", folder)
                lock.acquire()
            except NotImplementedError:  # a file system without locks
                pass
        yield
    finally:
        lock.release()


def prepared(folder: Path, config: DictConfig, hydra: DictConfig) -> DictConfig:
    """The configuration of a job, ready to start: its saved one, to go on from the last checkpoint, or the one given,
    which is then saved."""
    saved = folder / ".hydra"
    if (folder / "checkpoints" / "last.ckpt").is_file():
        config = OmegaConf.load(saved / "config.yaml")  # type: ignore[assignment]
        config.resume = str(folder)
        (folder / "results.json").unlink(missing_ok=True)
    elif is_first():
        for path in (folder / name for name in WRITTEN):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if hydra.output_subdir is None:
            saved.mkdir(exist_ok=True)
            OmegaConf.save(config, saved / "config.yaml")
            OmegaConf.save(OmegaConf.create({"hydra": hydra}), saved / "hydra.yaml")
            OmegaConf.save(hydra.overrides.task, saved / "overrides.yaml")
    if not hydra.launcher._target_.endswith("BasicLauncher"):
        with open_dict(config):
            config.callbacks.pop("progress", None)  # bars of several processes overwrite each other
    return config


def ended(folder: Path, config: DictConfig, hydra: DictConfig, status: str, message: str) -> None:
    """Writes down why a job has no results."""
    choices = hydra.runtime.choices
    about = {"experiment": choices.get("experiment"), "latent": choices.get("latent"), "seed": config.get("seed")}
    write_json(folder / "results.json", about | {"status": status, "error": message})
    print(one_line(f"job {hydra.job.num} {'is ' * (status in DONE)}{status}: {message}"), flush=True)


def results(folder: Path) -> dict[str, Any]:
    """results.json, or nothing where there is none."""
    file = folder / "results.json"
    return json.loads(file.read_text()) if file.is_file() else {}
