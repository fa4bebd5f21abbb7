"""Checks of what a source returns, made when the data is built: types, shapes and labels. `kinds` checks the values.

Data of another convention trains without an error, and its figures mean nothing: images with their channels last have
as many channels as rows. Each check raises ValueError with one line: which split or file, what was found, and what is
allowed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from discrete_latents.data.splits import Images, Splits

WHOLE = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
NUMBERS = WHOLE | {"bool", "bfloat16", "float16", "float32", "float64"}
"""Types of x."""

MOST_CHANNELS = 4
"""The channels that the last dimension of images may be: grey with alpha, RGB, RGBA."""


def check_splits(returned: Any) -> Splits:
    """The splits that a source returned, as the batch path takes them: images (n, C, H, W) or vectors (n, D), labels
    int64, (n,), or None.

    Raises ValueError for an object of another type, for x or labels that `check_x` and `check_labels` refuse, and for
    splits whose x differ in shape.
    """
    if not isinstance(returned, Splits):
        raise ValueError(f"source must return Splits(train, val, test), got {kind_of_value(returned)}")
    checked = []
    for split, images in returned._asdict().items():
        if not isinstance(images, Images):
            raise ValueError(f"source must return Images(x, labels) for the {split} split, got {kind_of_value(images)}")
        x = check_x(images.x, split_name(split, images.x))
        checked.append(Images(x, check_labels(images.labels, f"{split} labels", len(x))))
        shape, first = tuple(x.shape[1:]), tuple(checked[0].x.shape[1:])
        if shape != first:
            raise ValueError(f"{split_name(split, x)} must be {first} each, as the train split's are, got {shape}")
    return Splits(*checked)


def split_name(split: str, x: Any) -> str:
    """What a message calls the x of a split."""
    return f"{split} vectors" if getattr(x, "ndim", 0) == 2 else f"{split} images"


def check_x(x: Any, name: str) -> Shaped[Tensor, "n ..."]:
    """Images as (n, C, H, W), or vectors.

    name: what a message calls them. Raises ValueError for what is no dense tensor on the CPU, and for a type or a shape
    that `check_layout` refuses.
    """
    check_layout(check_tensor(x, name).dtype, x.shape, name)
    return x.unsqueeze(1) if x.dim() == 3 else x


def check_labels(labels: Any, name: str, count: int) -> Int64[Tensor, " n"] | None:
    """Labels as int64, or None as it is.

    name: what a message calls them. count: how many images there are. Raises ValueError for what is no tensor of
    `count` whole numbers from 0.
    """
    if labels is None:
        return None
    check_label_layout(check_tensor(labels, name).dtype, labels.shape, name, count)
    labels = labels.to(torch.int64)
    lowest = int(labels.min())
    if lowest < 0:
        negative = int((labels < 0).sum())
        raise ValueError(f"{name} must be classes from 0 on, got {lowest} ({negative} of {count} are below 0)")
    return labels


def check_layout(dtype: Any, shape: Sequence[int], name: str) -> None:
    """Raises ValueError unless a tensor or an array of this type and shape can be x: numbers, (n, D), (n, H, W) or
    (n, C, H, W), at least one image of at least one pixel, channels not last."""
    kind = dtype_name(dtype)
    if kind not in NUMBERS:
        raise ValueError(f"{name} must be numbers, such as uint8 or float32, got {kind} {tuple(shape)}")
    if len(shape) not in (2, 3, 4):
        raise ValueError(f"{name} must be images (n, H, W) or (n, C, H, W), or vectors (n, D), got {tuple(shape)}")
    if shape[0] == 0:
        raise ValueError(f"{name} must be at least one image, got none: {tuple(shape)}")
    if 0 in shape:
        raise ValueError(f"{name} must have at least one pixel each, got {tuple(shape)}")
    count, channels, *size = shape
    if len(size) == 2 and size[0] != size[1] <= MOST_CHANNELS < channels:
        right = (count, size[1], channels, size[0])
        raise ValueError(f"{name} must have their channels first, {right}, got {tuple(shape)}, which has them last")


def check_label_layout(dtype: Any, shape: Sequence[int], name: str, count: int) -> None:
    """Raises ValueError unless a tensor or an array of this type and shape can be the labels of `count` images."""
    kind = dtype_name(dtype)
    if kind not in WHOLE or tuple(shape) != (count,):
        raise ValueError(f"{name} must be {count} whole numbers, one for each image, got {kind} {tuple(shape)}")


def check_tensor(values: Any, name: str) -> Tensor:
    """`values` itself. Raises ValueError unless it is a dense tensor on the CPU."""
    if not isinstance(values, Tensor):
        hint = "; torch.from_numpy makes one" if isinstance(values, np.ndarray) else ""
        raise ValueError(f"{name} must be a torch.Tensor, got {kind_of_value(values)}{hint}")
    if values.layout != torch.strided or values.device.type != "cpu":
        found = f"{dtype_name(values.layout)} on {values.device.type}"
        raise ValueError(f"{name} must be a dense tensor on the CPU, got {found}")
    return values


def dtype_name(dtype: Any) -> str:
    """The name of a type or a layout of torch or NumPy, without its byte order."""
    return getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")


def kind_of_value(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
