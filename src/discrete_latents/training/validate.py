"""Checks of a configuration before training starts."""

import os
from collections.abc import Container
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, ListConfig, OmegaConf

from discrete_latents.atomic_write import SUFFIX
from discrete_latents.checks import positive, truth, whole
from discrete_latents.config.extras import check_extras
from discrete_latents.config.migration import RENAMED
from discrete_latents.config.printed_command import setting
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError
from discrete_latents.models import LatentModel
from discrete_latents.runs.directory import RunDirectory


def check_settings(config: DictConfig) -> None:
    """Raises UserError for settings that nothing else would check before training."""
    ours = str(OmegaConf.select(config, "model._target_")).startswith("discrete_latents.")
    for former, name in RENAMED.items():
        if ours and OmegaConf.select(config, former) is not None:
            raise UserError(f"{former} is not a setting: it is {name} now")
    if isinstance(config.seed, bool) or not isinstance(config.seed, int) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed must be a whole number of at least 0 and below 2^32, got {config.seed!r}")
    lowest = {"max_epochs": -1, "max_steps": -1, "check_val_every_n_epoch": 1, "log_every_n_steps": 1}
    lowest |= {"accumulate_grad_batches": 1, "num_sanity_val_steps": -1}
    try:
        if not isinstance(compiled := config.get("compile", False), bool) and compiled != "auto":
            raise ValueError(f"compile must be true or false or auto, got {compiled!r}")
        for name in ("train", "test", "weights_strict", "print_config"):
            truth(name, config.get(name, False))
        if config.trainer.get("gradient_clip_val") is not None:
            positive("trainer.gradient_clip_val", config.trainer.gradient_clip_val)
        whole("eval_samples", config.eval_samples)
        whole("steps_per_loop", config.steps_per_loop)
        if config.trainer.get("check_val_every_n_epoch", 1) is None:
            check_validation_by_batches(config.trainer)
            del lowest["check_val_every_n_epoch"]
        for name, least in lowest.items():
            whole(f"trainer.{name}", config.trainer.get(name, least), least)
    except ValueError as error:
        raise UserError(str(error)) from error
    if config.trainer.get("precision") in ("16-mixed", "16", 16) and config.trainer.get("accelerator") == "cpu":
        raise UserError(
            f"trainer.precision must be bf16-mixed on a CPU, got {config.trainer.precision}, which needs trainer=gpu"
        )
    check_parts_of_a_run(config)
    check_extras(config)
    check_folders(config)


def check_parts_of_a_run(config: DictConfig) -> None:
    """Raises UserError where nothing is left to do, or two settings say where the weights come from."""
    training, testing = config.get("train", True), config.get("test", True)
    if not (training or testing):
        raise UserError("train and test must not both be false: nothing would be done")
    if config.resume and not training:
        raise UserError(f"train must be true with resume; python eval.py run={config.resume} tests a run again")
    tags, name = config.get("tags"), config.get("optimized_metric")
    if tags is not None and not (isinstance(tags, ListConfig) and all(isinstance(tag, str) for tag in tags)):
        raise UserError(f"tags must be a list of words, as [paper,first], got {tags!r}")
    if not isinstance(name, str | None):
        raise UserError(f"optimized_metric must be the name of a metric, as val/nelbo, got {name!r}")
    if name is not None and name.startswith("test/") and not testing:
        raise UserError(f"optimized_metric must be a metric of validation where test is false, got {name}")


def check_validation_by_batches(trainer: DictConfig) -> None:
    """Raises UserError where validation is to count batches over epochs, and no number of them is given."""
    interval = trainer.get("val_check_interval")
    if interval is None or isinstance(interval, bool | float) or (isinstance(interval, int) and interval < 1):
        raise UserError(
            "trainer.check_val_every_n_epoch = null counts batches over epochs and needs how many: "
            f"trainer.val_check_interval must be a whole number of at least 1, got {interval!r}"
        )


def check_folders(config: DictConfig) -> None:
    """Raises UserError for a folder that the run cannot write into. Creates no folder."""
    for name, value in written_paths(config).items():
        what = "in a folder" if name.endswith(".path") else "a folder"
        try:
            path = Path(value).absolute()
            above = (path, *path.parents)[what != "a folder" :]
            with TemporaryFile(dir=next(folder for folder in above if folder.exists())):
                pass
        except (OSError, TypeError) as error:
            raise UserError(f"{name} must be {what} that can be written, got {value!r}: {error}") from error


def written_paths(config: DictConfig) -> dict[str, Any]:
    """The settings that name what a run writes, and their values."""
    written = {"paths.output_dir": config.paths.output_dir}
    for group in ("callbacks", "logger"):
        for name, settings in (config.get(group) or {}).items():
            for key in ("dirpath", "folder", "save_dir", "path"):
                if isinstance(settings, DictConfig) and settings.get(key) is not None:
                    written[f"{group}.{name}.{key}"] = settings[key]
    return written


def check_stays_inside(config: DictConfig, given: Container[str]) -> None:
    """Raises UserError where a resumed run would write out of its directory: its configuration and the links in it can
    be somebody else's.

    given: the settings of this command line, which may name any folder. So may the saved configuration for the
    checkpoints, if nothing but checkpoints is there, and no other run's.
    """
    run, dirpath = RunDirectory(config.resume), "callbacks.checkpoint.dirpath"
    home = Path(os.path.realpath(run))
    links = {str(path): path for path in (*run.written, run.log) if path.is_symlink()}
    for name, value in {**links, **written_paths(config)}.items():
        if not isinstance(value, str | Path):  # `check_folders` says it
            continue
        path = Path(os.path.realpath(value))
        if path.is_relative_to(home) or name in given:
            continue
        apart = not Path(value).absolute().is_relative_to(run.folder.absolute())
        if not (name == dirpath and apart and holds_checkpoints_alone(path)):
            how = "" if name in links else f"; to write there, say so: {setting(name, str(value))}"
            raise UserError(f"{name} leads out of the run that is resumed, to {path}{how}")


def holds_checkpoints_alone(folder: Path) -> bool:
    """Whether a folder, if it exists, has nothing but checkpoints in it, and is in no run."""
    run = RunDirectory(folder)
    in_a_run = any(RunDirectory(above).hydra.exists() for above in (folder, *folder.parents))
    others = [path for path in folder.glob("*") if path not in (run.lock, run.holder)]
    return not in_a_run and all(path.suffix in (run.last.suffix, SUFFIX) for path in others)


def check_model_labels(model: LatentModel, data: ImageData) -> None:
    """Raises UserError if the model and the data disagree on labelled images: their number or classes."""
    kind, used = type(model).__name__, getattr(model, "labelled_batch_size", None)
    if used is None and data.labelled is not None:
        raise UserError(f"data.labelled must be null for a {kind}, which learns from no labels, got {data.labelled}")
    if used not in (None, data.labelled_batch_size):
        raise UserError(
            f"model.labelled_batch_size must be data.labelled_batch_size = {data.labelled_batch_size}, got {used}"
        )
    for split, classes in data.classes.items() if used is not None else ():
        if not classes:
            raise UserError(
                f"data.name = {data.name}: the {split} images must have labels for a {kind}, got none (of data=arrays, "
                f"{split}_labels.npy is missing)"
            )
        if model.num_classes < classes:
            raise UserError(
                f"model.num_classes must be at least the {classes} of data.name = {data.name}, got "
                f"{model.num_classes}: the {split} labels go up to {classes - 1}"
            )


def check_batches(trainer: pl.Trainer, data: pl.LightningDataModule) -> None:
    """Raises UserError for limits that leave no batch to train or test on. Lightning checks a foreign data module."""
    if not isinstance(data, ImageData):
        return
    limit, interval = trainer.limit_test_batches, trainer.val_check_interval
    if (limit * len(data.test_dataloader()) if isinstance(limit, float) else limit) < 1:
        raise UserError(f"trainer.limit_test_batches must leave a batch to test, got {limit}")
    count = len(data.train_dataloader())
    shared = int((data.labels["train"] < 0).sum()) if data.labelled else len(data.labels["train"])
    if shared < trainer.world_size:
        raise UserError(
            f"trainer.devices must be at most the {shared} images that an epoch shares out, got {trainer.world_size}"
        )
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and not 1 <= interval <= count:
        raise UserError(f"trainer.val_check_interval must be from 1 to the {count} batches of an epoch, got {interval}")
