"""Checks before training that the metrics which callbacks watch are logged."""

import logging
from collections.abc import Iterator
from re import findall
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping

from discrete_latents.callbacks import Checkpoints
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError, suggest
from discrete_latents.models import LatentModel
from discrete_latents.runs.metrics import metric

log = logging.getLogger(__name__)

OURS = ("discrete_latents.", "lightning.")


def check_monitors(trainer: pl.Trainer, model: LatentModel, data: ImageData) -> None:
    """Raises UserError for a callback that watches, or puts into a file's name, a metric that no validation has, or
    that stops at the wrong end of its values. Logs a warning where a checkpoint is chosen by the wrong end.

    Says nothing of names that a callback or a training step of somebody else's may log.
    """
    known = rehearsed_names(model, data)
    if known is None:
        return
    foreign = [one for one in trainer.callbacks if not type(one).__module__.startswith(OURS)]  # type: ignore[attr-defined]
    if type(model).__module__.startswith(OURS) and not foreign:
        known.add(model.train_metric)
    else:
        known |= {name for _, name, _ in watched(trainer) if not name.startswith("val/") or foreign}
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


def rehearsed_names(model: LatentModel, data: ImageData) -> set[str] | None:
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
