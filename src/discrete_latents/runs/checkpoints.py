"""Checkpoints as they are read: nothing in them is run, and what does not fit a model is said in one line."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from discrete_latents.errors import UserError, first_line

RESUMED = ("state_dict", "optimizer_states", "epoch", "global_step", "loops", "callbacks", "noise")
"""What a run goes on from."""


def checkpoint(run: Path, which: str) -> Path:
    """A run's checkpoint, "best" or "last". Raises UserError where it is not there."""
    if which not in ("best", "last"):
        raise UserError(f"ckpt must be best or last, got {which!r}")
    path = run / "checkpoints" / f"{which}.ckpt"
    if not path.is_file():
        raise UserError(f"{run} has no checkpoint {path.name} in {path.parent}")
    return path


def last_checkpoint(run: Path, folder: Path) -> Path | None:
    """The checkpoint that a run goes on from, in the folder of its checkpoints; None where it was stopped before its
    first. Raises UserError where it had come further and the file is gone."""
    path = folder / "last.ckpt"
    if path.is_file():
        return path
    if (run / "results.json").exists() or any(folder.glob("*.ckpt")):
        raise UserError(f"{run} has no checkpoint {path.name} in {folder}")
    return None


def read_checkpoint(path: Path, needed: Sequence[str] = ("state_dict",)) -> dict[str, Any]:
    """A checkpoint; nothing in it is executed. Raises UserError where the file is damaged, holds other things than
    tensors and plain values, or lacks what is needed of it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is then an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the reader raise
        if "Weights only load failed" in str(error):  # torch goes on to explain how to run it
            raise UserError(f"{path} is refused: it holds other things than tensors and plain values") from error
        raise UserError(f"{path} is not a checkpoint that can be read: {first_line(error)}") from error
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing:
        raise UserError(f"{path} is not a checkpoint of a run: it has no {', '.join(missing)}")
    return content


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint's weights. Raises UserError as `read_checkpoint`."""
    weights = read_checkpoint(path)["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{path} is not a checkpoint of a run: its state_dict must be tensors by their names")
    return weights


def load_weights(path: Path, model: nn.Module) -> None:
    """Loads a checkpoint's weights. Raises UserError where they are those of another model or architecture."""
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
    """Raises UserError for a checkpoint that training cannot go on from, or that trained other parameters."""
    optimizers = read_checkpoint(path, RESUMED)["optimizer_states"]
    saved = sum(len(group["params"]) for state in optimizers for group in state["param_groups"])
    own = len([parameter for parameter in model.parameters() if parameter.requires_grad])
    if saved != own:
        said = f"it trained {saved} parameters, this model has {own}"
        raise UserError(f"{path} is a checkpoint of another model or architecture: {said}")
