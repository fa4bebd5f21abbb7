"""Conversion of grey values to training data.

Published results use four kinds of data, which differ by tens of nats. State which one with every result.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MODES = ("fixed", "dynamic", "threshold", "grey")
"""Binarisation modes:

- fixed: each pixel sampled once, Bernoulli(grey / 255), with a fixed seed
- dynamic: sampled again whenever a training image is read
- threshold: grey > 127
- grey: grey / 255
"""

FIXED_SEED = 0


def prepare(grey: UInt8[Tensor, "n ..."], mode: str, part: int) -> UInt8[Tensor, "n ..."]:
    """The pixels of a split to keep in memory: 0 and 255 if binarised once, else the grey values.

    part: the index of the split, so that splits do not share noise.
    """
    if mode == "threshold":
        return (grey > 127).to(torch.uint8) * 255
    if mode == "fixed":
        generator = torch.Generator().manual_seed(FIXED_SEED + part)
        # In parts, to save memory for floats; the numbers are the same.
        return torch.cat([draw(images, generator).to(torch.uint8) * 255 for images in grey.split(1000)])
    return grey


def draw(grey: UInt8[Tensor, "n ..."], generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
    """Bernoulli(grey / 255) pixels, 0.0 or 1.0, on the device of `grey`; exact at 0 and at 255."""
    # Always float32: during training, torch's default dtype is the model's precision.
    u = torch.rand(grey.shape, generator=generator, dtype=torch.float32, device=grey.device)
    return (u < grey.float() / 255).float()


def to_float(pixels: UInt8[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Stored pixels as values in [0, 1]."""
    return pixels.float() / 255
