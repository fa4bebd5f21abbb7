"""Independent Bernoulli pixels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent.sampler import at_least_float32
from discrete_latents.likelihoods.base import Likelihood


class Bernoulli(Likelihood):
    """Pixels in [0, 1], independent given z; the output is their log-odds.

    For grey pixels this is the usual cross-entropy, not a density.
    """

    def log_prob(self, x: Float[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        if torch.is_grad_enabled() or output.device.type != "cpu":
            return super().log_prob(x, output)
        # Besides the networks, this dominates a bound of many samples. One sample at a time fits into the cache.
        x, output = x.flatten(1), at_least_float32(output).flatten(1 - x.dim())
        samples = output.reshape(math.prod(output.shape[:-2]), *x.shape)
        return torch.stack([self.summed(x, sample) for sample in samples]).view(output.shape[:-1])

    def summed(self, x: Float[Tensor, "B P"], logits: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """Σ (x l − max(l, 0) + log σ(|l|)), with one logarithm per 16 pixels.

        σ(|l|) ≥ 1/2, so the product of 16 is a normal number.
        """
        group = math.gcd(x.shape[1], 16)
        products = logits.abs().sigmoid_().unflatten(1, (group, -1)).prod(1)
        return products.log_().sum(1) - logits.clamp(min=0).addcmul_(x, logits, value=-1).sum(1)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, x.expand_as(output), reduction="none")

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def output_for_mean(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)
