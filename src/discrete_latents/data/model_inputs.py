"""Images and codes that a caller gives a trained model."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from discrete_latents.data.image_checks import dtype_name, kind_of_value


def read_images(images: Any, shape: tuple[int, ...]) -> Float[Tensor, "n C H W"]:
    """Images as float32 in [0, 1].

    images: a tensor or a NumPy array, uint8 from 0 to 255, bool, or floats in [0, 1]; (n, C, H, W), or (n, H, W) where
    C is 1. shape: the model's (C, H, W). Raises ValueError for another type, range or shape, and for NaN.
    """
    images = read_tensor(images, "images")
    found = f"{dtype_name(images.dtype)} {tuple(images.shape)}"
    if images.dim() == 3 and shape[0] == 1:
        images = images.unsqueeze(1)
    if images.dim() != 4 or tuple(images.shape[1:]) != shape:
        raise ValueError(f"images must be (n, {', '.join(map(str, shape))}), as the model was trained on, got {found}")
    if images.dtype == torch.uint8:
        if images.numel() and images.max() == 1:
            raise ValueError("images must be uint8 from 0 to 255, got only 0 and 1; binary images are given as bool")
        return images / 255
    if images.dtype != torch.bool and not images.is_floating_point():
        raise ValueError(f"images must be uint8 from 0 to 255, or floats in [0, 1], got {found}")
    images = images.float()
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        lowest, highest = (f"{value:g}" for value in (images.min().item(), images.max().item()))
        found += " with NaN" if images.isnan().any() else f" from {lowest} to {highest}"
        raise ValueError(f"images must be uint8 from 0 to 255, or floats in [0, 1], got {found}")
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
