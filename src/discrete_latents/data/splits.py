"""What a source of images returns: three splits of images, with class labels or without."""

from typing import NamedTuple

from jaxtyping import Int, UInt8
from torch import Tensor


class Images(NamedTuple):
    """One split.

    grey: grey values from 0 to 255, uint8, (n, C, H, W), or (n, H, W) for one channel. labels: the class of each image
    as a whole number from 0, (n,), or None where the classes are not known.
    """

    grey: UInt8[Tensor, "n C H W"] | UInt8[Tensor, "n H W"]
    labels: Int[Tensor, " n"] | None = None


class Splits(NamedTuple):
    """Training, validation and test images."""

    train: Images
    val: Images
    test: Images
