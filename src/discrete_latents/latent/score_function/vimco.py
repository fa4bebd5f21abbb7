"""VIMCO: the score function of the multi-sample bound."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder


class VIMCO(Estimator):
    """The score function of the m-sample bound log (1/m) Σ w (Mnih, Rezende 2016, section 2.4).

    The signal of a sample is the bound minus the bound with that sample's weight replaced by the geometric mean of the
    others.

    samples: m, at least 2.
    """

    unbiased = True

    def __init__(self, samples: int = 5) -> None:
        super().__init__(whole("samples", samples, least=2))

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        recorder = Recorder((self.samples,), sampled=True)
        weights = log_weights(objective, recorder)
        bound = layout.log_mean_exp(weights)
        signal = bound.detach() - self.without_each(weights.detach())
        for site in recorder.sites:
            bound = bound + site.with_gradient(signal[..., None, None] * site.score()).sum(0)
        return bound

    def without_each(self, log_weights: Float[Tensor, "m B"]) -> Float[Tensor, "m B"]:
        """The bound with each log-weight replaced by the mean of the others."""
        others = (log_weights.sum(0) - log_weights) / (self.samples - 1)
        replaced = torch.eye(self.samples, dtype=torch.bool, device=log_weights.device).unsqueeze(-1)
        return torch.where(replaced, others.unsqueeze(1), log_weights).logsumexp(1) - math.log(self.samples)
