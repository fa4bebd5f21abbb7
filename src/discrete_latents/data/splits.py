"""What a source returns: three splits of images or vectors, with class labels or without."""

from typing import Any, NamedTuple

from torch import Tensor


class Images(NamedTuple("Images", [("x", Tensor), ("labels", Tensor | None)])):
    """One split.

    x: images, (n, C, H, W), or (n, H, W) for one channel, or vectors, (n, D). Grey values are uint8, bool, or floats in
    [0, 1]; other floats are real numbers; other whole numbers are counts or classes from 0. `grey` is its former name.
    labels: the class of each image as a whole number from 0, (n,), or None where the classes are not known.
    """

    __slots__ = ()

    def __new__(cls, x: Any = None, labels: Any = None, *, grey: Any = None) -> "Images":
        return super().__new__(cls, grey if x is None else x, labels)

    @property
    def grey(self) -> Tensor:
        return self.x


class Splits(NamedTuple):
    """Training, validation and test data."""

    train: Images
    val: Images
    test: Images
