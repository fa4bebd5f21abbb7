"""Conversion of grey values to training data.

Published results use four kinds of data, which differ by tens of nats. State which one with every result.
"""

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

MODES = ("fixed", "dynamic", "threshold", "grey")
"""Binarisation modes, of grey values in [0, 1]:

- fixed: each pixel sampled once, Bernoulli(grey), with a fixed seed
- dynamic: sampled again whenever a training image is read
- threshold: grey > 1/2, for bytes above 127
- grey: as they are
"""

FIXED_SEED = 0


def prepare(pixels: Shaped[Tensor, "n ..."], mode: str, part: int) -> Shaped[Tensor, "n ..."]:
    """The pixels of a split to keep in memory: bytes of 0 and 255 if binarised once, else the grey values.

    part: the index of the split, so that splits do not share noise.
    """
    # In parts, to save memory for floats; the numbers are the same.
    if mode == "threshold":
        return torch.cat([to_bytes(to_float(images) > 0.5) for images in pixels.split(1000)])
    if mode == "fixed":
        generator = torch.Generator().manual_seed(FIXED_SEED + part)
        return torch.cat([to_bytes(draw(images, generator)) for images in pixels.split(1000)])
    return pixels


def to_bytes(binary: Shaped[Tensor, "n ..."]) -> UInt8[Tensor, "n ..."]:
    return binary.to(torch.uint8) * 255


def draw(pixels: Shaped[Tensor, "n ..."], generator: torch.Generator | None = None) -> Float[Tensor, "n ..."]:
    """Bernoulli(grey) pixels, 0.0 or 1.0, on the device of `pixels`; exact at 0 and at 1."""
    # Always float32: during training, torch's default dtype is the model's precision.
    u = torch.rand(pixels.shape, generator=generator, dtype=torch.float32, device=pixels.device)
    return (u < to_float(pixels)).float()


def to_float(pixels: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Stored grey values as floats in [0, 1]: bytes are divided by 255."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
