"""Discretised logistic pixels (Salimans et al. 2017, equation 2, with one component)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.checks import positive
from discrete_latents.likelihoods.base import Likelihood

BIN = 1 / 255
"""The width of a level's bin. Those of 0 and 1 reach to −∞ and ∞."""

LEAST = -7.0
"""Of log scales, and the greatest, negated: a scale of a quarter of a bin puts all mass on one level."""


class DiscretizedLogistic(Likelihood):
    """Levels 0, 1/255, …, 1, independent given z: each has the mass of a logistic distribution in its bin.

    The outputs are the distribution's mean and the logarithm of its scale, for each pixel. scale: the initial one,
    relative to the range of grey values. Raises ValueError unless it is positive.
    """

    takes = ("levels",)
    masses = ("levels", "binary")
    outputs = 2

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = positive("scale", scale)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        location, log_scale = location_and_scale(output)
        precision = (-log_scale).exp()
        level = (x.to(output.dtype) * 255).round()
        offset = level * BIN - location
        # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b − a)), for any a > b without cancellation.
        below = F.logsigmoid(precision * (offset + BIN / 2))
        above = F.logsigmoid(-precision * (offset - BIN / 2))
        width = (-(-BIN * precision).expm1()).log()
        return -torch.where(level == 0, below, torch.where(level == 255, above, below + above + width))

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], within half a bin: of the logistic distribution, cut to [0, 1]."""
        location, log_scale = location_and_scale(output)
        scale = log_scale.exp()
        return scale * (F.softplus(location / scale) - F.softplus((location - 1) / scale))

    def output_for_mean(self, mean: Tensor) -> Tensor:
        scale = max(self.scale, math.exp(LEAST))
        cut = torch.log(-torch.expm1(-mean / scale)) - torch.log(-torch.expm1((mean - 1) / scale))
        return torch.stack([mean + scale * cut, torch.full_like(mean, math.log(scale))], -1)


def location_and_scale(output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log scale of each pixel."""
    location, log_scale = output.unbind(-1)
    return location, log_scale.clamp(LEAST, -LEAST)
