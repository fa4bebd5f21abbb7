"""Reads checkpoints without executing anything in them, and checks that they fit a model."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from discrete_latents.errors import UserError, first_line

RESUMED = ("state_dict", "optimizer_states", "epoch", "global_step", "loops", "callbacks", "noise")
"""What a checkpoint must hold to resume from it."""


def read_checkpoint(path: Path, needed: Sequence[str] = ("state_dict",)) -> dict[str, Any]:
    """The content of a checkpoint; nothing in it is executed.

    Raises UserError if the file is damaged, holds anything but tensors and plain values, or lacks a `needed` key.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # the error says the same
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        if "Weights only load failed" in str(error):  # torch's message explains how to execute it
            raise UserError(f"{path} is refused: it holds other things than tensors and plain values") from error
        raise UserError(f"{path} is not a checkpoint that can be read: {first_line(error)}") from error
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing:
        raise UserError(f"{path} is not a checkpoint of a run: it has no {', '.join(missing)}")
    return content


class Best(NamedTuple):
    """The best checkpoint so far, as last.ckpt knows it: its path then, "" for none. step: of last.ckpt."""

    path: str
    step: int


def best_of(last: Path) -> Best:
    """Raises UserError as `read_checkpoint` does."""
    content = read_checkpoint(last, ("callbacks", "global_step"))
    states = content["callbacks"].values() if isinstance(content["callbacks"], dict) else ()
    paths = [state.get("best_model_path") for state in states if isinstance(state, dict)]
    return Best(next((path for path in reversed(paths) if isinstance(path, str)), ""), int(content["global_step"]))


def follows_last(path: Path) -> bool:
    """Whether a last.ckpt had been written before this checkpoint. Raises UserError as `read_checkpoint` does."""
    states = read_checkpoint(path, ("callbacks",))["callbacks"]
    states = states.values() if isinstance(states, dict) else ()
    return any(isinstance(state, dict) and bool(state.get("last_model_path")) for state in states)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint's weights, by name. Raises UserError as `read_checkpoint` does."""
    weights = read_checkpoint(path)["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{path} is not a checkpoint of a run: its state_dict must be tensors by their names")
    return weights


def load_weights(path: Path, model: nn.Module) -> None:
    """Loads a checkpoint's weights into a model. Raises UserError if names or shapes differ."""
    weights = read_weights(path)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(own.keys() | saved.keys()):
        if own.get(name) != saved.get(name):
            said = [f"{shape}" if shape is not None else "nothing" for shape in (saved.get(name), own.get(name))]
            raise UserError(
                f"{path} is a checkpoint of another model or architecture: it has {said[0]} for {name}, this model "
                f"{said[1]}"
            )
    model.load_state_dict(weights)


def check_optimizer(path: Path, model: nn.Module) -> None:
    """Raises UserError if a checkpoint cannot be resumed from, or trained another number of parameters."""
    optimizers = read_checkpoint(path, RESUMED)["optimizer_states"]
    saved = sum(len(group["params"]) for state in optimizers for group in state["param_groups"])
    own = len([parameter for parameter in model.parameters() if parameter.requires_grad])
    if saved != own:
        said = f"it trained {saved} parameters, this model has {own}"
        raise UserError(f"{path} is a checkpoint of another model or architecture: {said}")
