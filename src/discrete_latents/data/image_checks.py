"""Checks of what a source returns, made when the data is built.

An image set of another convention trains without an error, and its figures mean nothing: uint8 images of 0 and 1 are
black after the division by 255, and images with their channels last have as many channels as rows. Each check raises
ValueError with one line: which split or file, what was found, and what is allowed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from discrete_latents.data.splits import Images, Splits

DARK = 16
"""No split of images in 0 to 255 has a brightest pixel this low. Images that do count in ones: binary images, palette
indices, scikit-learn's digits of 0 to 16."""

MOST_CHANNELS = 4
"""The channels that the last dimension of images may be: grey with alpha, RGB, RGBA."""

HINTS = {
    ("float", "bfloat"): "; multiply images in [0, 1] by 255, round them and convert them to uint8",
    ("bool",): "; multiply them by 255 and convert them to uint8",
    ("int", "uint"): "; convert values from 0 to 255 to uint8",
}
"""How images of another type become uint8, by how the name of the type starts."""


def check_splits(returned: Any) -> Splits:
    """The splits that a source returned, as the batch path takes them: images uint8, (n, C, H, W), labels int64, (n,),
    or None.

    Raises ValueError for an object of another type, for images or labels that `check_images` and `check_labels`
    refuse, and for splits whose images differ in shape.
    """
    if not isinstance(returned, Splits):
        raise ValueError(f"source must return Splits(train, val, test), got {kind_of_value(returned)}")
    checked = []
    for split, images in returned._asdict().items():
        if not isinstance(images, Images):
            raise ValueError(
                f"source must return Images(grey, labels) for the {split} split, got {kind_of_value(images)}"
            )
        grey = check_images(images.grey, f"{split} images")
        checked.append(Images(grey, check_labels(images.labels, f"{split} labels", len(grey))))
        shape, first = tuple(grey.shape[1:]), tuple(checked[0].grey.shape[1:])
        if shape != first:
            raise ValueError(f"{split} images must be {first} each, as the train images are, got {shape}")
    return Splits(*checked)


def check_images(images: Any, name: str) -> UInt8[Tensor, "n C H W"]:
    """Images as (n, C, H, W).

    name: what a message calls them. Raises ValueError for what is no dense uint8 tensor on the CPU, for a shape that
    `check_image_layout` refuses, for images of one value throughout, and for images that are too dark to be in 0 to
    255.
    """
    check_image_layout(check_tensor(images, name).dtype, images.shape, name)
    lowest, highest = value_range(images)
    if lowest == highest:
        raise ValueError(f"{name} must hold more than one grey value, got {highest} in every pixel")
    if highest <= DARK:
        raise ValueError(
            f"{name} must be grey values from 0 to 255, got none above {highest}: divided by 255 they are black; "
            f"multiply them by {255 // highest}"
        )
    return images if images.dim() == 4 else images.unsqueeze(1)


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


def check_image_layout(dtype: Any, shape: Sequence[int], name: str) -> None:
    """Raises ValueError unless a tensor or an array of this type and shape can be images: uint8, (n, H, W) or
    (n, C, H, W), at least one image of at least one pixel, channels not last."""
    kind = dtype_name(dtype)
    if kind != "uint8" or len(shape) not in (3, 4):
        hint = next((hint for starts, hint in HINTS.items() if kind.startswith(starts) and kind != "uint8"), "")
        raise ValueError(
            f"{name} must be uint8 grey values, (n, H, W) or (n, C, H, W), got {kind} {tuple(shape)}{hint}"
        )
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
    if not kind.startswith(("int", "uint")) or tuple(shape) != (count,):
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


def value_range(images: UInt8[Tensor, "n ..."], bright: int = 127) -> tuple[int, int]:
    """The lowest and the highest value of the images, or of the first ones that hold two values, one of them above
    `bright`: what is larger than memory is not read to its end."""
    lowest, highest = 255, 0
    for part in images.split(max(1, 2**20 // images[0].numel())):
        low, high = part.aminmax()
        lowest, highest = min(lowest, int(low)), max(highest, int(high))
        if lowest < highest > bright:
            break
    return lowest, highest


def dtype_name(dtype: Any) -> str:
    """The name of a type or a layout of torch or NumPy, without its byte order."""
    return getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")


def kind_of_value(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
