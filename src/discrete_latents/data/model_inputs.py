"""Images, vectors and codes that a caller gives a trained model."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Real
from torch import Tensor

from discrete_latents.data.image_checks import NUMBERS, dtype_name, kind_of_value
from discrete_latents.data.kinds import measure, reader


def read_x(x: Any, shape: tuple[int, ...], kind: str) -> Real[Tensor, "n ..."]:
    """x as a model reads it: float32, or int64 where it was trained on whole numbers.

    x: a tensor or a NumPy array, (n, *shape), or (n, H, W) where C is 1. Grey values are uint8 from 0 to 255, bool, or
    floats in [0, 1]. shape: (C, H, W) or (D,). kind: of the values that the model was trained on. Raises ValueError
    for another type, range or shape, and for NaN.
    """
    name = "images" if len(shape) == 3 else "vectors"
    x = read_tensor(x, name)
    found = f"{dtype_name(x.dtype)} {tuple(x.shape)}"
    if x.dim() == 3 and len(shape) == 3 and shape[0] == 1:
        x = x.unsqueeze(1)
    if x.dim() != 1 + len(shape) or tuple(x.shape[1:]) != shape:
        raise ValueError(f"{name} must be (n, {', '.join(map(str, shape))}), as the model was trained on, got {found}")
    if kind not in ("real", "whole"):
        return read_grey(x, name, found)
    if dtype_name(x.dtype) not in NUMBERS:
        raise ValueError(f"{name} must be numbers, got {found}")
    span = measure(x, name) if x.numel() else None
    if kind == "whole" and span and not (span.whole and span.lowest >= 0):
        raise ValueError(f"{name} must be whole numbers from 0, got {found} from {span.lowest:g} to {span.highest:g}")
    return reader(kind)(x)


def read_grey(images: Tensor, name: str, found: str) -> Real[Tensor, "n ..."]:
    """Grey values as float32 in [0, 1]."""
    if images.dtype == torch.uint8:
        if images.numel() and images.max() == 1:
            raise ValueError(f"{name} must be uint8 from 0 to 255, got only 0 and 1; binary images are given as bool")
        return images / 255
    if images.dtype != torch.bool and not images.is_floating_point():
        raise ValueError(f"{name} must be uint8 from 0 to 255, or floats in [0, 1], got {found}")
    images = images.float()
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        lowest, highest = (f"{value:g}" for value in (images.min().item(), images.max().item()))
        found += " with NaN" if images.isnan().any() else f" from {lowest} to {highest}"
        raise ValueError(f"{name} must be uint8 from 0 to 255, or floats in [0, 1], got {found}")
    return images


def read_codes(codes: Any, num_latents: int, num_classes: int) -> Int64[Tensor, "n N"]:
    """Class indices as int64.

    codes: a tensor or a NumPy array of whole numbers from 0 to K − 1, (n, N). Raises ValueError for another type,
    range or shape.
    """
    codes = read_tensor(codes, "codes")
    kind = dtype_name(codes.dtype)
    if not kind.startswith(("int", "uint")) or codes.dim() != 2 or codes.shape[1] != num_latents:
        raise ValueError(f"codes must be whole numbers (n, {num_latents}), got {kind} {tuple(codes.shape)}")
    codes = codes.to(torch.int64)
    if codes.numel() and (codes.min() < 0 or codes.max() >= num_classes):
        found = f"{int(codes.min())} to {int(codes.max())}"
        raise ValueError(f"codes must be from 0 to {num_classes - 1}, got {found}")
    return codes


def read_tensor(values: Any, name: str) -> Tensor:
    """A dense tensor, or a NumPy array as one: copied where it is read-only, reversed or of another byte order."""
    if isinstance(values, np.ndarray):
        try:
            return torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W"]))
        except TypeError as error:  # of objects, text, dates
            raise ValueError(f"{name} must be numbers, got {dtype_name(values.dtype)} {values.shape}") from error
    if not isinstance(values, Tensor) or values.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor or a NumPy array, got {kind_of_value(values)}")
    return values
