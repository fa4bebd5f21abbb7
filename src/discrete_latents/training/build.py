"""Builds the data, the model and the trainer of a run from its configuration."""

import logging
from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision
from omegaconf import DictConfig, open_dict

from discrete_latents.callbacks import Checkpoints, KLWeightSchedule, LearningRate, TemperatureSchedule
from discrete_latents.config.instantiate import locate, make, parts
from discrete_latents.data import ImageData
from discrete_latents.errors import NotApplicable, UserError, first_line
from discrete_latents.latent import NotDefined
from discrete_latents.lightning_internals import use_exact_loops, use_fast_epoch_loop
from discrete_latents.loggers import WandbRun
from discrete_latents.models import LatentModel
from discrete_latents.training.lightning_settings import check_callbacks, check_trainer_settings
from discrete_latents.training.validate import check_model_labels

log = logging.getLogger(__name__)


def build_data(config: DictConfig) -> ImageData:
    """The data, set up. Raises UserError for files that are missing or damaged, and settings that do not fit them."""
    data: ImageData = make(config, "data")
    try:
        data.setup()
    except (OSError, ValueError) as error:
        message = locate(config, "data", first_line(error))
        raise UserError(message.replace("data: ", f"data.name = {data.name}: ", 1)) from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UserError(f"data.source: {first_line(error)}") from error
    return data


def make_model(config: DictConfig, image_shape: Sequence[int]) -> LatentModel:
    """The model with its estimator and optimisation, untrained. image_shape: (C, H, W) or (D,)."""
    return make(
        config,
        "model",
        image_shape=image_shape,
        estimator=make(config, "latent"),
        optimization=make(config, "optimizer"),
    )


def build_model(config: DictConfig, data: ImageData) -> LatentModel:
    """The model, its output set to the data's base rate, after one pass over two images.

    Raises UserError for what would fail in training: shapes that do not fit, a likelihood of other data, an enumeration
    too large, an optimiser's settings.
    """
    model = make_model(config, data.image_shape)
    check_model_labels(model, data)
    model.kind = data.values.kind
    try:
        model.likelihood.check(*data.values)
    except ValueError as error:
        raise UserError(f"data.name = {data.name}: {locate(config, 'model.likelihood', first_line(error))}") from error
    model.set_base_rate(data.mean(model.likelihood.statistics))
    with model.evaluation_noise(), torch.no_grad():
        try:
            model.training_loss(next(iter(data.batches("train", 2, shuffled=True))))
        except (ValueError, RuntimeError, IndexError) as error:
            kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
            refused = NotApplicable if isinstance(error, NotDefined) else UserError
            raise refused(f"{kind}: {first_line(error)}") from error
    try:
        model.optimization.optimizer(model.parameters())
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    model.compiled = config.compile
    if model.compiled and model.estimator.differentiates:
        log.warning("not compiled: %s differentiates within a step", type(model.estimator).__name__)
    return model


def build_trainer(config: DictConfig, checkpoints: bool = True) -> pl.Trainer:
    """The trainer with its callbacks and loggers. checkpoints: False leaves out what belongs to training alone: the
    checkpoints and the W&B run."""
    check_trainer_settings(config)
    group = config.get("callbacks") or {}
    made = parts(config, "callbacks", pl.Callback) if group else ()
    named = dict(zip(map(str, group), made, strict=True))
    check_callbacks(named)
    callbacks = [LearningRate(), KLWeightSchedule(), *named.values()]
    if not any(isinstance(callback, TemperatureSchedule) for callback in callbacks):
        callbacks.insert(0, TemperatureSchedule())  # whatever callbacks are chosen, a temperature is annealed
    if not checkpoints:
        callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
    if config.trainer.get("enable_progress_bar") is False:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    callbacks.sort(key=lambda callback: isinstance(callback, Checkpoints))  # last.ckpt holds the others' state
    loggers = list(parts(config, "logger", Logger)) if config.get("logger") else []
    if not checkpoints:
        loggers = [logger for logger in loggers if not isinstance(logger, WandbRun)]
    bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if not bar and "enable_progress_bar" not in config.trainer:  # Lightning would add its own
        config = config.copy()
        with open_dict(config.trainer):
            config.trainer.enable_progress_bar = False
    saving = any(isinstance(callback, Checkpoint) for callback in callbacks)
    try:
        trainer = make(
            config, "trainer", callbacks=callbacks, logger=loggers, enable_checkpointing=saving, _convert_="all"
        )
    except RuntimeError as error:  # two callbacks whose states have one name
        raise UserError(f"callbacks: {first_line(error)}") from error
    use_exact_loops(trainer)
    if config.steps_per_loop > 1:
        use_fast_epoch_loop(trainer)
    return trainer


def convert_precision(model: LatentModel, trainer: pl.Trainer) -> None:
    """Gives a model the dtype that the trainer trains and tests it with, which Lightning does only after it has loaded
    weights: in float32, those of 64-true would lose bits."""
    if isinstance(trainer.precision_plugin, DoublePrecision | HalfPrecision):
        trainer.precision_plugin.convert_module(model)
