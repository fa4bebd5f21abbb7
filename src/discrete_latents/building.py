"""The data, the model and the trainer of a run, and whether they can work, before anything is trained."""

import copy
import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryFile

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from discrete_latents.callbacks import LearningRate
from discrete_latents.dashboards import WandbRun
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError
from discrete_latents.latent import Temperature
from discrete_latents.latent.checks import positive, truth, whole
from discrete_latents.lightning_internals import use_fast_epoch_loop
from discrete_latents.making import first_line, locate, make, parts
from discrete_latents.models import LatentModel

log = logging.getLogger(__name__)


def check(config: DictConfig) -> None:
    """Raises UserError for settings that nothing else checks in time."""
    if isinstance(config.seed, bool) or not isinstance(config.seed, int) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed must be a whole number of at least 0 and below 2^32, got {config.seed!r}")
    lowest = {"max_epochs": -1, "max_steps": -1, "check_val_every_n_epoch": 1, "log_every_n_steps": 1}
    lowest |= {"accumulate_grad_batches": 1, "num_sanity_val_steps": -1}
    try:
        truth("compile", config.compile)
        if config.trainer.get("gradient_clip_val") is not None:
            positive("trainer.gradient_clip_val", config.trainer.gradient_clip_val)
        whole("eval_samples", config.eval_samples)
        whole("steps_per_loop", config.steps_per_loop)
        for name, least in lowest.items():
            whole(f"trainer.{name}", config.trainer.get(name, least), least)
    except ValueError as error:
        raise UserError(str(error)) from error
    if config.trainer.get("precision") in ("16-mixed", "16", 16) and config.trainer.get("accelerator") == "cpu":
        raise UserError(
            f"trainer.precision must be bf16-mixed on a CPU, got {config.trainer.precision}, which needs trainer=gpu"
        )
    check_folders(config)


def check_folders(config: DictConfig) -> None:
    """Raises UserError for a folder that a run is to write into, and cannot. Makes none."""
    written = {"paths.output_dir": config.paths.output_dir}
    for group in ("callbacks", "logger"):
        for name, settings in (config.get(group) or {}).items():
            for key in ("dirpath", "folder", "save_dir", "path"):
                if isinstance(settings, DictConfig) and settings.get(key) is not None:
                    written[f"{group}.{name}.{key}"] = settings[key]
    for name, value in written.items():
        what = "in a folder" if name.endswith(".path") else "a folder"
        try:
            path = Path(value).absolute()
            above = (path, *path.parents)[what != "a folder" :]
            with TemporaryFile(dir=next(folder for folder in above if folder.exists())):
                pass
        except (OSError, TypeError) as error:
            raise UserError(f"{name} must be {what} that can be written, got {value!r}: {error}") from error


def build_data(config: DictConfig) -> ImageData:
    data: ImageData = make(config, "data")
    try:
        data.setup()
    except (OSError, ValueError) as error:
        message = locate(config, "data", first_line(error))
        raise UserError(message.replace("data: ", f"data.name = {data.name}: ", 1)) from error
    return data


def without_unused_temperature(config: DictConfig) -> DictConfig:
    """The configuration without the settings that belong to another kind of temperature: an experiment gives the
    rate of its own schedule, and `temperature=constant` has none."""
    if "_target_" not in config.temperature:
        return config
    try:
        taken = inspect.signature(resolve_name(config.temperature._target_)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):  # which making it is about to say
        return config
    others = {name for kind in Temperature.__subclasses__() for name in inspect.signature(kind).parameters}
    unused = sorted((others - set(taken)) & set(config.temperature))
    if unused:
        kept = {name: value for name, value in config.temperature.items() if name not in unused}
        config = copy.deepcopy(config)
        OmegaConf.set_struct(config, False)
        config.temperature = kept
    return config


def warn_of_unused(given: DictConfig, used: DictConfig) -> None:
    """Says which settings of the temperature its kind does not have."""
    unused = sorted(set(given.temperature) - set(used.temperature))
    if unused:
        log.warning("not used by %s: %s", used.temperature._target_.split(".")[-1], ", ".join(unused))


def make_model(config: DictConfig, image_shape: Sequence[int]) -> LatentModel:
    return make(
        config,
        "model",
        image_shape=image_shape,
        estimator=make(config, "latent"),
        optimization=make(config, "optimizer"),
    )


def build_model(config: DictConfig, data: ImageData) -> LatentModel:
    """The model, at the data's base rate, after a rehearsal on two images: what cannot run (shapes, an
    enumeration too large) is said before training starts."""
    model = make_model(config, data.image_shape)
    check_labels(model, data)
    model.set_base_rate(data.mean_image)
    with model.evaluation_noise(), torch.no_grad():
        try:
            model.training_loss(next(iter(data.batches("train", 2, shuffled=True))))
        except (ValueError, RuntimeError, IndexError) as error:
            kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
            raise UserError(f"{kind}: {first_line(error)}") from error
    try:
        model.optimization.optimizer(model.parameters())
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    model.compiled = config.compile
    if model.compiled and model.estimator.differentiates:
        log.warning("not compiled: %s differentiates within a step", type(model.estimator).__name__)
    return model


def check_labels(model: LatentModel, data: ImageData) -> None:
    """Raises UserError for labelled images that the model does not learn from, or not so many, or of other classes."""
    kind, used = type(model).__name__, getattr(model, "labelled_batch_size", None)
    if used is None and data.labelled is not None:
        raise UserError(f"data.labelled must be null for a {kind}, which learns from no labels, got {data.labelled}")
    if used not in (None, data.labelled_batch_size):
        raise UserError(
            f"model.labelled_batch_size must be data.labelled_batch_size = {data.labelled_batch_size}, got {used}"
        )
    classes = int(data.labels["train"].max()) + 1
    if used is not None and model.num_classes < classes:
        raise UserError(
            f"model.num_classes must be at least the {classes} of data.name = {data.name}, got {model.num_classes}"
        )


def build_trainer(config: DictConfig, checkpoints: bool = True) -> pl.Trainer:
    callbacks = [LearningRate(), *parts(config, "callbacks", pl.Callback)]
    if not checkpoints:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ModelCheckpoint)]
    loggers = list(parts(config, "logger", Logger)) if config.get("logger") else []
    if not checkpoints:
        loggers = [logger for logger in loggers if not isinstance(logger, WandbRun)]  # it is training's
    trainer = make(
        config, "trainer", callbacks=callbacks, logger=loggers, enable_checkpointing=checkpoints, _convert_="all"
    )
    if config.steps_per_loop > 1:
        use_fast_epoch_loop(trainer)
    return trainer


def check_batches(trainer: pl.Trainer, data: ImageData) -> None:
    """Raises UserError where what is to be trained or tested on leaves no batch."""
    limit, interval = trainer.limit_test_batches, trainer.val_check_interval
    if (limit * len(data.test_dataloader()) if isinstance(limit, float) else limit) < 1:
        raise UserError(f"trainer.limit_test_batches must leave a batch to test, got {limit}")
    count = len(data.train_dataloader())
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and not 1 <= interval <= count:
        raise UserError(f"trainer.val_check_interval must be from 1 to the {count} batches of an epoch, got {interval}")
