"""The data, the model and the trainer of a run."""

import copy
import inspect
import logging
from collections.abc import Sequence
from pkgutil import resolve_name

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from discrete_latents.config.instantiate import locate, make, parts
from discrete_latents.data import ImageData
from discrete_latents.errors import NotApplicable, UserError, first_line
from discrete_latents.latent import NotDefined, Temperature
from discrete_latents.loggers import WandbRun
from discrete_latents.models import LatentModel
from discrete_latents.training.validate import check_labels

log = logging.getLogger(__name__)


def build_data(config: DictConfig) -> ImageData:
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
    callbacks = list(parts(config, "callbacks", pl.Callback))
    if not checkpoints:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ModelCheckpoint)]
    loggers = list(parts(config, "logger", Logger)) if config.get("logger") else []
    if not checkpoints:
        loggers = [logger for logger in loggers if not isinstance(logger, WandbRun)]  # it is training's
    return make(
        config, "trainer", callbacks=callbacks, logger=loggers, enable_checkpointing=checkpoints, _convert_="all"
    )
