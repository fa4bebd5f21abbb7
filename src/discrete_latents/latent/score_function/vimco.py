"""VIMCO: the score function of the multi-sample bound."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent.score_function.multi_sample import MultiSample


class VIMCO(MultiSample):
    """The score function of the m-sample bound log (1/m) Σ w (Mnih, Rezende 2016, section 2.4).

    The signal of a sample is the bound minus the bound with that sample's weight replaced by the geometric mean of the
    others.

    samples: m, at least 2.
    """

    unbiased = True

    def signal(self, log_weights: Float[Tensor, "m B"], bound: Float[Tensor, " B"]) -> Float[Tensor, "m B"]:
        return bound - self.without_each(log_weights)

    def without_each(self, log_weights: Float[Tensor, "m B"]) -> Float[Tensor, "m B"]:
        """The bound with each log-weight replaced by the mean of the others."""
        others = (log_weights.sum(0) - log_weights) / (self.samples - 1)
        replaced = torch.eye(self.samples, dtype=torch.bool, device=log_weights.device).unsqueeze(-1)
        return torch.where(replaced, others.unsqueeze(1), log_weights).logsumexp(1) - math.log(self.samples)
