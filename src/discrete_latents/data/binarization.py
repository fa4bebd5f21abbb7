"""From grey values to what a model is trained on.

Published figures mix four kinds of data, and differ by tens of nats between them; a figure says which.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MODES = ("fixed", "dynamic", "threshold", "grey")
"""fixed: each pixel drawn once, Bernoulli(grey / 255), by a fixed seed. dynamic: drawn anew whenever a training
image is read. threshold: grey > 127. grey: grey / 255 as it is."""

FIXED_SEED = 0


def prepare(grey: UInt8[Tensor, "n ..."], mode: str, part: int) -> UInt8[Tensor, "n ..."]:
    """What a split keeps in memory: pixels 0 and 255 where they are drawn once, else the grey values.

    part: the number of the split, so that no two share their noise.
    """
    if mode == "threshold":
        return (grey > 127).to(torch.uint8) * 255
    if mode == "fixed":
        generator = torch.Generator().manual_seed(FIXED_SEED + part)
        # Part by part, for the memory that floats take: the same numbers as at once.
        return torch.cat([draw(images, generator).to(torch.uint8) * 255 for images in grey.split(1000)])
    return grey


def draw(grey: UInt8[Tensor, "n ..."], generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
    """Bernoulli(grey / 255) pixels, 0.0 or 1.0, on the device of `grey`; exact at 0 and at 255."""
    # In float32 whatever the model's precision, which is torch's default while it trains.
    u = torch.rand(grey.shape, generator=generator, dtype=torch.float32, device=grey.device)
    return (u < grey.float() / 255).float()


def to_float(pixels: UInt8[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Kept pixels as values in [0, 1]."""
    return pixels.float() / 255
