"""The folder of a new run: one folder, free, and held before anything is written."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning.pytorch as pl
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.composition_errors import composition_error
from discrete_latents.config.overrides import key
from discrete_latents.config.paths import verbatim
from discrete_latents.config.printed_command import setting, shell_word
from discrete_latents.errors import UserError, fail
from discrete_latents.process import is_first
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.lock import claim, hold


class NewRun(Callback):
    """Hydra's callback before a run: ends the command where the folder holds a run or is in use.

    It sees the composed folder, wherever that was set. `paths.output_dir`, where it is set, names the folder as well.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            with hydra_config(config):
                name = one_folder(config)
                folder = str(config.hydra.run.dir)
            claim_new(name, folder)
        except UserError as error:
            fail(str(error))
        except OmegaConfBaseException as error:
            fail(composition_error(str(error), ()))


def claim_new(name: str, folder: str) -> None:
    """Holds a new run's directory until the command's end. name: the setting that names it.

    Raises UserError where it holds a run, is in use, or cannot be written.
    """
    try:
        claim(RunDirectory(os.path.abspath(folder)), lambda: taken_by_run(name, folder))
    except (OSError, ValueError) as error:
        raise UserError(f"{name} must be a folder that can be written, got {folder!r}: {error}") from error


def taken_by_run(name: str, folder: str) -> str | None:
    """What is wrong with the folder of a new run that holds one; None for a folder that is free."""
    run = RunDirectory(os.path.abspath(folder))  # as Hydra has it: a/../b is b, whatever a is
    if (found := run.trace()) is None:
        return None
    way = f", or continue it with {shell_word(setting('resume', folder))}" if found == run.hydra else ""
    return f"{name} = {folder} holds a run already ({found.name}); name another folder{way}"


@contextmanager
def own_checkpoints(run: RunDirectory, new: bool) -> Iterator[None]:
    """Holds the folder of a run's checkpoints, where that is not in the run's own.

    new: the run is not resumed. Raises UserError for a folder that another run uses, that holds checkpoints of a run
    that is not resumed, and that cannot be written.
    """
    if same_folder(run.checkpoints, RunDirectory(run.folder).checkpoints):
        yield
        return
    said = f"callbacks.checkpoint.dirpath = {run.checkpoints}"
    with ExitStack() as stack:
        try:
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(RunDirectory(run.checkpoints)))
        except UserError as error:
            raise UserError(f"{said}: {error}") from error
        except OSError as error:
            raise UserError(f"{said} must be a folder that can be written: {error}") from error
        if new and is_first() and any(run.checkpoints.glob("*.ckpt")):
            raise UserError(f"{said} holds checkpoints already; name another folder")
        yield


@contextmanager
def kept_once_trained(run: RunDirectory, save: Callable[[], None], trainer: pl.Trainer) -> Iterator[None]:
    """Saves a new run's configuration. If it fails before its first optimiser step, deletes what it has written, so
    that the folder is free for the command that is right. The log stays."""
    if is_first():
        save()
    try:
        yield
    except Exception:
        if is_first() and trainer.global_step == 0 and not run.results.exists():
            clear(run)
        raise


def clear(run: RunDirectory) -> None:
    """Deletes what a start has written that never came to a checkpoint."""
    for path in (*run.written, run.hydra):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def one_folder(config: DictConfig) -> str:
    """Makes `paths.output_dir`, where it is set, the folder of Hydra's files too. Returns the setting that was given.

    Raises UserError where both are given and differ.
    """
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = os.path.abspath(str(config.hydra.run.dir))
    raw = OmegaConf.select(config, "paths.output_dir")
    output = None if raw is None else os.path.expanduser(str(raw))
    if output is None or same_folder(output, config.hydra.runtime.output_dir):
        return "hydra.run.dir"
    if "hydra.run.dir" in map(key, config.hydra.overrides.hydra):
        raise UserError(
            f"paths.output_dir = {output} is not hydra.run.dir = {config.hydra.run.dir}: a run has one folder; leave "
            "one of them out"
        )
    with read_write(config):
        config.hydra.run.dir = verbatim(output)
        config.paths.output_dir = "${hydra:runtime.output_dir}"
    return "paths.output_dir"


def same_folder(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Whether two paths name one folder, also through links."""
    return os.path.realpath(first) == os.path.realpath(second)


@contextmanager
def hydra_config(config: DictConfig) -> Iterator[None]:
    """Resolves `${hydra:…}` in a configuration whose job has not started."""
    instance: Any = HydraConfig.instance()
    former, instance.cfg = instance.cfg, config
    try:
        yield
    finally:
        instance.cfg = former
