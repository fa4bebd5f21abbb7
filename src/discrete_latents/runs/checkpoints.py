"""Reads checkpoints without executing anything in them, and checks that they fit a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from discrete_latents.errors import UserError
from discrete_latents.runs.archive import read_archive
from discrete_latents.runs.exported_weights import SUFFIX, read_exported

RESUMED = ("state_dict", "optimizer_states", "epoch", "global_step", "loops", "callbacks", "noise")
"""What a checkpoint must hold to resume from it."""


def read_checkpoint(path: Path, needed: Sequence[str] = ("state_dict",)) -> dict[str, Any]:
    """The content of a checkpoint; nothing in it is executed.

    Raises UserError if the file is damaged, holds anything but tensors and plain values, or lacks a `needed` key.
    """
    try:
        content = read_exported(path) if path.suffix == SUFFIX else read_archive(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not a checkpoint that can be read: it is missing") from error
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
    states, step = content["callbacks"], content["global_step"]
    if not isinstance(states, dict) or type(step) is not int or step < 0:
        raise UserError(f"{last} is not a checkpoint of a run: its callbacks or global_step are of another type")
    paths = [state.get("best_model_path") for state in states.values() if isinstance(state, dict)]
    return Best(next((path for path in reversed(paths) if isinstance(path, str)), ""), step)


def follows_last(path: Path) -> bool:
    """Whether a last.ckpt had been written before this checkpoint. Raises UserError as `read_checkpoint` does."""
    states = read_checkpoint(path, ("callbacks",))["callbacks"]
    states = states.values() if isinstance(states, dict) else ()
    return any(isinstance(state, dict) and bool(state.get("last_model_path")) for state in states)


def weights_in(content: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The weights in what a checkpoint holds, by name. Raises UserError for what is none."""
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{path} is not a checkpoint of a run: its state_dict must be tensors by their names")
    return weights


def load_weights(path: Path, model: nn.Module) -> None:
    """Loads a checkpoint's weights into a model. Raises UserError if names, shapes or types differ."""
    weights = weights_in(read_checkpoint(path), path)
    check_weights(path, weights, model)
    model.load_state_dict(weights)


def check_weights(path: Path, weights: dict[str, torch.Tensor], model: nn.Module, precision: Any = None) -> None:
    """Raises UserError as `load_weights` does.

    precision: of the trainer that saved the weights; with "64-true" they are float64 where the model has float32.
    """
    own = {name: type_and_shape(value, precision) for name, value in model.state_dict().items()}
    saved = {name: type_and_shape(value) for name, value in weights.items()}
    for name in sorted(own.keys() | saved.keys()):
        if own.get(name) != saved.get(name):
            said = [form.get(name, "nothing") for form in (saved, own)]
            raise UserError(
                f"{path} is a checkpoint of another model or architecture: it has {said[0]} for {name}, this model "
                f"{said[1]}"
            )


TRUE_PRECISIONS = {"64": torch.float64, "bf16": torch.bfloat16, "16": torch.float16}
"""Of Lightning's PRECISION-true, and 64: the type of a model's weights in training and in checkpoints."""


def type_and_shape(weight: torch.Tensor, precision: Any = None) -> str:
    """A weight's type and shape, "float32 (3, 4)". precision: as of `check_weights`."""
    bits, _, kind = str(precision).partition("-")
    trained = TRUE_PRECISIONS.get(bits) if kind == "true" or bits == "64" else None
    dtype = trained if trained is not None and weight.is_floating_point() else weight.dtype
    return f"{str(dtype).removeprefix('torch.')} {tuple(weight.shape)}"
