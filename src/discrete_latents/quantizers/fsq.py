"""Finite scalar quantisation: a deterministic code with no KL."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent.estimator import NotDefined
from discrete_latents.quantizers.base import Quantizer, library


class FSQ(Quantizer):
    """Each of a few numbers, bounded by a tanh, is rounded to one of its levels; K is the product of the levels
    (Mentzer, Minnen, Agustsson, Tschannen 2024). The gradient passes the rounding straight through. It has no codebook
    to collapse, and no loss of its own.

    levels: of each number, at least 3. None: 8 each, and 4 for what is left, where K is a power of 2 that allows it, as
        8·8·8 = 512 and 8·8·8·4·4 = 8,192. Raises ValueError unless their product is K.
    """

    def __init__(self, levels: Sequence[int] | None = None) -> None:
        super().__init__()
        listed = levels is None or (isinstance(levels, Sequence) and not isinstance(levels, str))
        if not listed or not all(type(level) is int and level >= 3 for level in levels or [3]):
            raise ValueError(f"levels must be a list of whole numbers of at least 3, or null, got {levels!r}")
        self.levels = None if levels is None else [*levels]

    def build(self, num_classes: int, width: int) -> int:
        levels = self.levels or powers(num_classes)
        if levels is None or math.prod(levels) != num_classes:
            product = "null" if levels is None else f"{levels}, of product {math.prod(levels)}"
            raise NotDefined(f"latent.levels must have the product num_classes = {num_classes}, got {product}")
        self.quantizer = library("FSQ")(levels)
        return len(levels)

    def quantize(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor]:
        vectors, codes = self.quantizer(x)
        return vectors, codes, x.new_zeros(())


def powers(num_classes: int) -> list[int] | None:
    """K as a product of 8s and at most two 4s; None where it is none."""
    power = num_classes.bit_length() - 1
    fours = -power % 3 if power != 1 else 0
    eights = (power - 2 * fours) // 3
    levels = [8] * eights + [4] * fours
    return levels if eights >= 0 and levels and math.prod(levels) == num_classes else None
