"""Checks before training that the metrics which callbacks watch are logged."""

import copy
import logging
import warnings
from collections.abc import Iterator
from re import findall
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig, OmegaConf

from discrete_latents.callbacks import Checkpoints
from discrete_latents.data import ImageData
from discrete_latents.data.loaders import has_loader
from discrete_latents.errors import UserError, suggest
from discrete_latents.models import LatentModel
from discrete_latents.runs.metrics import metric

log = logging.getLogger(__name__)

CHECKPOINT = "callbacks.checkpoint"
LATENT_MONITOR = "val/nelbo"
"""What the best checkpoint of a LatentModel is chosen by, if nothing else is set."""
OURS = ("discrete_latents.", "lightning.")


OWN_MONITORS = ("val_loss", "val/loss", "valid_loss", "valid/loss")
"""What modules log in Lightning's own examples, the lowest best."""


def with_own_monitor(config: DictConfig, model: pl.LightningModule, data: pl.LightningDataModule) -> DictConfig:
    """The configuration, in which the best checkpoint is chosen by what the validation logs: where the monitor is that
    of a LatentModel and the model is none, by val_loss or the like. The latest is kept where there is no such metric,
    or no validation."""
    monitor, validated = OmegaConf.select(config, f"{CHECKPOINT}.monitor"), has_loader(data, "val")
    if monitor != LATENT_MONITOR or (isinstance(model, LatentModel) and validated):
        return config
    names = validated_names(model, data) if validated else set()
    if names is None or monitor in names:
        return config
    own = next((name for name in OWN_MONITORS if name in names), None)
    rank_zero_only(log.info)(
        f"{type(model).__name__} logs {', '.join(sorted(names)) or 'nothing'} in validation"
        f"{'' if validated else f', for which {type(data).__name__} has no batches'}: "
        + (f"the best checkpoint is that with the lowest {own}" if own else "the latest checkpoint is tested")
        + f"; {CHECKPOINT}.monitor and .mode choose another"
    )
    config = config.copy()
    OmegaConf.update(config, f"{CHECKPOINT}.monitor", own)
    OmegaConf.update(config, f"{CHECKPOINT}.mode", "min")
    return config


def check_monitors(trainer: pl.Trainer, model: pl.LightningModule, data: pl.LightningDataModule) -> None:
    """Raises UserError for a callback that watches, or puts into a file's name, a metric that no validation has, or
    that stops at the wrong end of its values. Logs a warning where a checkpoint is chosen by the wrong end.

    Says nothing of names that a callback or a training step of somebody else's may log.
    """
    known = rehearsed_names(model, data) if isinstance(data, ImageData) else validated_names(model, data)
    if known is None:
        return
    foreign = [one for one in trainer.callbacks if not type(one).__module__.startswith(OURS)]  # type: ignore[attr-defined]
    if isinstance(model, LatentModel) and type(model).__module__.startswith(OURS) and not foreign:
        known.add(model.train_metric)
    else:
        known |= {name for _, name, _ in watched(trainer) if not name.startswith("val") or foreign}
    for what, name, callback in watched(trainer):
        if name not in known:
            raise UserError(f"{what} must be a metric that validation logs, got {name!r}; {suggest(name, known)}")
        if isinstance(callback, EarlyStopping) and name.startswith("val/") and trainer.limit_val_batches == 0:
            raise UserError(f"{what} = {name} needs validation, and trainer.limit_val_batches is 0")
        better, mode = metric(name).better, getattr(callback, "mode", None)
        right = {"lowest": "min", "highest": "max"}.get(str(better), mode)
        if what.endswith("monitor") and mode in ("min", "max") and mode != right:
            said = f"{what.removesuffix('monitor')}mode must be {right} for {name}, got {mode!r}"
            if isinstance(callback, EarlyStopping):
                raise UserError(said)
            log.warning("%s: the worst checkpoint is kept and tested", said.replace("must be", "should be"))


def watched(trainer: pl.Trainer) -> Iterator[tuple[str, str, Any]]:
    """Settings that name a metric, as "EarlyStopping's monitor", and the name."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        kind = "callbacks.checkpoint." if isinstance(callback, Checkpoints) else f"{type(callback).__name__}'s "
        if isinstance(monitor := getattr(callback, "monitor", None), str):
            yield f"{kind}monitor", monitor, callback
        if isinstance(callback, Checkpoints):
            for name in findall(r"\{([^{}:]+)", callback.filename or ""):
                if name not in ("epoch", "step"):
                    yield f"{kind}filename", name, callback


def validated_names(model: pl.LightningModule, data: pl.LightningDataModule) -> set[str] | None:
    """The names under which a validation of one batch logs, by Lightning itself, on a copy of the model; None where
    that needs more, as a logger: the first validation says what is wrong."""
    if not (is_overridden("validation_step", model) and has_loader(data, "val")):
        return set()
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    try:
        with torch.random.fork_rng([]), warnings.catch_warnings(action="ignore"):
            trainer = pl.Trainer(accelerator="cpu", devices=1, limit_val_batches=1, enable_model_summary=False, **quiet)
            trainer.validate(copy.deepcopy(model), datamodule=data, verbose=False)
    except Exception:
        return None
    return {str(name) for name in trainer.callback_metrics}


def rehearsed_names(model: pl.LightningModule, data: ImageData) -> set[str] | None:
    """The names under which a validation logs, found by one of two images; None where a model needs more for it."""
    names: set[str] = set()
    attributes = vars(model)  # in front of the methods of the class, which need a trainer
    training = model.training
    try:
        attributes["log"] = lambda name, *_, **__: names.add(name)
        attributes["log_dict"] = lambda values, *_, **__: names.update(values)
        with torch.no_grad():
            model.eval()
            model.on_validation_epoch_start()
            model.validation_step(next(iter(data.batches("val", 2))), 0)
            model.on_validation_epoch_end()
    except Exception:  # what a model of somebody else's may need here; the first validation says it
        return None
    finally:
        del attributes["log"], attributes["log_dict"]
        model.train(training)
    return names
