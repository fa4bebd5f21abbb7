"""Gaussian pixels or features."""

import math

import torch
from torch import Tensor, nn

from discrete_latents.checks import positive, truth
from discrete_latents.likelihoods.base import Likelihood


class Gaussian(Likelihood):
    """Gaussian pixels whose mean is the output, with one standard deviation for all.

    scale: the initial standard deviation. learned: whether it is trained. Raises ValueError unless `scale` is positive
    and `learned` is true or false.
    """

    takes = ("grey", "real")

    def __init__(self, scale: float = 0.3, learned: bool = True) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(positive("scale", scale)))
        self.log_scale = nn.Parameter(log_scale, requires_grad=truth("learned", learned))

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        error = (x - output) * (-self.log_scale).exp()
        return 0.5 * error.square() + self.log_scale + 0.5 * math.log(2 * math.pi)

    def mean(self, output: Tensor) -> Tensor:
        return output

    def output_for_mean(self, mean: Tensor) -> Tensor:
        return mean
