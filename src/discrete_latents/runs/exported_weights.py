"""The weights of an export: a file of safetensors, which holds tensors by their names and nothing that could run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from discrete_latents.errors import UserError
from discrete_latents.runs.files import MEGABYTE, parsed_file, reason

SUFFIX = ".safetensors"
LARGEST_HEADER = 4 * MEGABYTE
"""Of the table of names, shapes and places: 3 kB for a small model."""


def read_exported(path: Path) -> dict[str, Any]:
    """As a checkpoint holds them: `state_dict` on the CPU, and `kind`, of x, where it is known.

    Raises FileNotFoundError, and UserError for any other file.
    """
    try:
        return parsed_file(path, float("inf"), checked_weights)
    except UserError as error:
        raise UserError(f"{path} is not a file of weights that can be read: {reason(path, error)}") from error


def checked_weights(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > LARGEST_HEADER:
        raise ValueError(f"its header must have at most {LARGEST_HEADER} bytes, got {header}")
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    return {"state_dict": weights} | {name: metadata[name] for name in ("kind",) if name in metadata}


def exported(weights: Mapping[str, torch.Tensor], kind: str | None) -> bytes:
    """The content of the file. kind: of x, as `read_exported` gives it; None of a model that has none."""
    metadata = {"format": "pt"} | ({} if kind is None else {"kind": kind})
    own = {name: weight.detach().cpu().clone().contiguous() for name, weight in weights.items()}
    return safetensors.torch.save(own, metadata)
