"""`weights=RUN_DIR`: a run starts from the weights of a former one, which may be of another estimator, task or data.

The former run may be somebody else's: nothing but tensors is read of it, and nothing in it is executed.
"""

import logging
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import Tensor, nn

from discrete_latents.errors import UserError
from discrete_latents.runs.checkpoints import read_checkpoint, type_and_shape, weights_in
from discrete_latents.runs.directory import RunDirectory

log = logging.getLogger(__name__)

OWN = "estimator."
"""Before the names of an estimator's own state: baselines, critics, temperature. Another estimator has others."""


class Taken(NamedTuple):
    """Names of weights: taken, left in the former run, and new in this model. All without those of estimators, but for
    what is taken."""

    taken: list[str]
    left: list[str]
    new: list[str]


class InitialWeights(pl.Callback):
    """Keeps what was taken of a former run, over resumes: for results.json, {"run", "checkpoint", "taken", "left",
    "new"}, or empty."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.record)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        words = {name: value for name, value in state_dict.items() if isinstance(value, str | list | None)}
        self.record = {
            name: value if isinstance(value, str | None) else [*map(str, value)] for name, value in words.items()
        }


def load_initial_weights(config: DictConfig, model: nn.Module) -> dict[str, Any]:
    """Loads the best weights of the run that `weights` names into a model, and says what was not taken.

    Returns the record of `InitialWeights`; empty where `weights` is null. Weights of one name and shape are taken. An
    estimator keeps what the former one lacks, and a temperature always begins anew.

    Raises UserError for a run that cannot be read, for weights of which none fits, and, with `weights_strict`, for a
    weight outside the estimators that only one of both has, or in another shape.
    """
    if not config.get("weights"):
        return {}
    run = RunDirectory(config.weights)
    if not run.folder.is_dir():
        raise UserError(f"weights = {run} must be the directory of a run, which is missing")
    path = run.checkpoint("best")
    saved, own = weights_in(read_checkpoint(path), path), model.state_dict()
    fit = compared(saved, own)
    if not [name for name in fit.taken if not name.startswith(OWN)]:
        raise UserError(f"weights = {run}: none of its weights fits this model; {listed(fit, saved, own)}")
    if (fit.left or fit.new) and config.get("weights_strict", True):
        raise UserError(
            f"weights = {run}: it is not of this model; {listed(fit, saved, own)}; weights_strict=false takes what fits"
        )
    with torch.no_grad():
        for name in fit.taken:
            own[name].copy_(saved[name])
    if fit.left or fit.new:
        rank_zero_only(log.warning)("weights = %s: %d taken; %s", run, len(fit.taken), listed(fit, saved, own))
    return {"run": str(run), "checkpoint": run.name_of(path), **fit._asdict()}


def compared(saved: dict[str, Tensor], own: dict[str, Tensor]) -> Taken:
    """Which weights of a former run a model takes."""
    alike = {
        name
        for name in saved.keys() & own.keys()
        if saved[name].shape == own[name].shape and saved[name].is_floating_point() == own[name].is_floating_point()
    }
    taken = [name for name in own if name in alike and not name.startswith(f"{OWN}temperature.")]
    left, new = ([name for name in names if name not in alike and not name.startswith(OWN)] for names in (saved, own))
    return Taken(taken, left, new)


def listed(fit: Taken, saved: dict[str, Tensor], own: dict[str, Tensor], most: int = 6) -> str:
    """What is left and what is new, in words: "left: encoder.0.weight, float32 (256, 64); new: …"."""

    def some(names: list[str], weights: dict[str, Tensor]) -> str:
        shown = [f"{name}, {type_and_shape(weights[name])}" for name in names[:most]]
        more = [f"{len(names) - most} more"] if len(names) > most else []
        return "; ".join([*shown, *more]) or "nothing"

    return f"left there: {some(fit.left, saved)}; new here: {some(fit.new, own)}"
