"""Builds the data, the model and the trainer of a run from its configuration."""

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, open_dict

from discrete_latents.callbacks import Checkpoints, KLWeightSchedule, LearningRate, TemperatureSchedule
from discrete_latents.config.instantiate import asked_for, locate, make, parts, taken_names
from discrete_latents.data import ImageData
from discrete_latents.data.loaders import Survey, as_data_module
from discrete_latents.errors import NotApplicable, UserError, first_line, in_own_code, is_refusal
from discrete_latents.latent import NotDefined
from discrete_latents.lightning_internals import use_exact_loops, use_fast_epoch_loop
from discrete_latents.loggers import WandbRun
from discrete_latents.models import LatentModel
from discrete_latents.process import is_first
from discrete_latents.training.lightning_settings import check_callbacks, check_trainer_settings
from discrete_latents.training.validate import check_model_labels

log = logging.getLogger(__name__)


def build_data(config: DictConfig) -> pl.LightningDataModule:
    """The data. `ImageData` is set up; loaders of the user's own become a LightningDataModule, which Lightning sets up.

    Raises UserError for files that are missing or damaged, and settings that do not fit them.
    """
    made = make(config, "data", _convert_="all")
    try:
        data = as_data_module(made)
    except TypeError as error:
        raise UserError(str(error)) from error
    except ValueError as error:
        raise UserError(f"data: {error}") from error
    if isinstance(data, ImageData):
        set_up(config, data)
    return data


def set_up(config: DictConfig, data: ImageData) -> None:
    try:
        data.setup()
    except (OSError, ValueError, TypeError) as error:
        if in_own_code(error) and not is_refusal(error):
            raise
        if isinstance(error, TypeError):
            if "unexpected keyword argument" not in str(error):
                raise
            raise UserError(f"data.source: {first_line(error)}") from error
        message = locate(config, "data", first_line(error))
        raise UserError(message.replace("data: ", f"data.name = {data.name}: ", 1)) from error


def survey(data: pl.LightningDataModule) -> Survey:
    """What the first batches of a foreign data module are. Raises UserError for what no model of this package takes."""
    if is_first():
        data.prepare_data()
    data.setup("fit")
    try:
        return Survey(data)
    except ValueError as error:
        if in_own_code(error):
            raise
        raise UserError(f"data ({type(data).__name__}): {first_line(error)}") from error


def check_foreign(config: DictConfig, model: pl.LightningModule) -> None:
    """Says which groups a model of the user's own leaves unused. Raises UserError for what it cannot be used with."""
    kind = type(model).__name__
    if config.compile is True:
        raise UserError(f"compile must be false for a {kind}, which can compile its own parts, got true")
    asked = taken_names(config, "model")
    groups = {"estimator": ("latent", "temperature"), "optimization": ("optimizer",)}
    unused = [group for name, own in groups.items() if name not in asked for group in own]
    if unused:
        rank_zero_only(log.info)("not used, since %s does not ask for it: %s", kind, ", ".join(unused))


def make_model(config: DictConfig, image_shape: Sequence[int] | Callable[[], Sequence[int]]) -> pl.LightningModule:
    """The model, untrained. It is given what its signature asks for: image_shape, (C, H, W) or (D,), the estimator and
    the optimisation. Raises UserError for what is no LightningModule."""
    offered = {
        "image_shape": image_shape if callable(image_shape) else lambda: image_shape,
        "estimator": lambda: make(config, "latent"),
        "optimization": lambda: make(config, "optimizer"),
    }
    model = make(config, "model", **asked_for(config, "model", offered), _convert_="all")
    if not isinstance(model, pl.LightningModule):
        raise UserError(f"model must be a LightningModule, by its _target_, got {type(model).__name__}")
    return model


def build_model(config: DictConfig, data: pl.LightningDataModule, loaded: bool = False) -> pl.LightningModule:
    """The model. A LatentModel has its output set to the data's base rate, and starts from training images where it
    does (`start_from`), before one pass over a batch. loaded: its weights will be read, so that it need not start.

    Raises UserError for what would fail in training: shapes that do not fit, a likelihood of other data, an enumeration
    too large, an optimiser's settings. An exception in the user's own code is raised as it is.
    """
    surveyed = cache(lambda: data if isinstance(data, ImageData) else survey(data))
    model = make_model(config, lambda: surveyed().image_shape)
    if not isinstance(model, LatentModel):
        check_foreign(config, model)
        return model
    seen = surveyed()
    title = f"data.name = {data.name}" if isinstance(data, ImageData) else f"data ({type(data).__name__})"
    if isinstance(seen, Survey):
        model.reader = seen.read
    else:
        check_model_labels(model, seen)
    model.kind = seen.values.kind
    try:
        model.likelihood.check(*seen.values)
    except ValueError as error:
        raise UserError(f"{title}: {locate(config, 'model.likelihood', first_line(error))}") from error
    model.set_base_rate(seen.mean(model.likelihood.statistics))
    with model.evaluation_noise(), torch.no_grad():
        try:
            if model.images_to_start and not loaded:
                model.start_from(seen.example(model.images_to_start)[0])
            model.training_loss(seen.example())
        except (ValueError, RuntimeError, IndexError) as error:
            refused = NotApplicable if isinstance(error, NotDefined) else UserError
            if in_own_code(error) and refused is UserError:
                raise
            kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
            raise refused(f"{kind}: {first_line(error)}") from error
    try:
        model.optimization.optimizer(model.parameters())
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    return model


def build_trainer(config: DictConfig, checkpoints: bool = True, **arguments: Any) -> pl.Trainer:
    """The trainer with its callbacks and loggers. checkpoints: False leaves out what belongs to training alone: the
    checkpoints and the W&B run. arguments: further ones of the Trainer."""
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
        arguments |= {"callbacks": callbacks, "logger": loggers, "enable_checkpointing": saving}
        trainer = make(config, "trainer", **arguments, _convert_="all")
    except RuntimeError as error:  # two callbacks whose states have one name
        raise UserError(f"callbacks: {first_line(error)}") from error
    use_exact_loops(trainer)
    if config.steps_per_loop > 1:
        use_fast_epoch_loop(trainer)
    return trainer


def convert_precision(model: pl.LightningModule, trainer: pl.Trainer) -> None:
    """Gives a model the dtype that the trainer trains and tests it with, which Lightning does only after it has loaded
    weights: in float32, those of 64-true would lose bits."""
    if isinstance(trainer.precision_plugin, DoublePrecision | HalfPrecision):
        trainer.precision_plugin.convert_module(model)
