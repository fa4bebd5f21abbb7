"""p(x | z): what a decoder's output means. Densities are summed over the pixels of an image, in nats."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from discrete_latents.latent.checks import positive, truth
from discrete_latents.latent.estimator import at_least_float32


class Likelihood(nn.Module):
    """The distribution of an image x, (B, *image), given a decoder's output, (*S, B, *image)."""

    def log_prob(self, x: Float[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        """log p(x | z), (*S, B), computed in float32 at least."""
        pixels = self.pixel_nll(x, at_least_float32(output))
        return -pixels.flatten(1 - x.dim()).sum(-1)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        """−log p of each pixel, in the shape of the output."""
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], what a picture shows."""
        raise NotImplementedError

    def output_for_mean(self, mean: Tensor) -> Tensor:
        """The decoder's output whose `mean` is this, for the output bias at the data's base rate."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Pixels in [0, 1], independent given z, the output being their log-odds. Grey pixels make it the usual
    cross-entropy, not a density."""

    def log_prob(self, x: Float[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        if torch.is_grad_enabled() or output.device.type != "cpu":
            return super().log_prob(x, output)
        # What a bound of many samples spends its time on besides the networks: a sample at a time, which a cache holds.
        x, output = x.flatten(1), at_least_float32(output).flatten(1 - x.dim())
        samples = output.reshape(math.prod(output.shape[:-2]), *x.shape)
        return torch.stack([self.summed(x, sample) for sample in samples]).view(output.shape[:-1])

    def summed(self, x: Float[Tensor, "B P"], logits: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """Σ (x l − max(l, 0) + log σ(|l|)), with a logarithm for 16 pixels: σ(|l|) ≥ 1/2, so that their product is a
        normal number."""
        group = math.gcd(x.shape[1], 16)
        products = logits.abs().sigmoid_().unflatten(1, (group, -1)).prod(1)
        return products.log_().sum(1) - logits.clamp(min=0).addcmul_(x, logits, value=-1).sum(1)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, x.expand_as(output), reduction="none")

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid()

    def output_for_mean(self, mean: Tensor) -> Tensor:
        return torch.logit(mean)


class Gaussian(Likelihood):
    """Pixels with mean the output and one standard deviation for all, `scale`, trained unless `learned` is
    false. Raises ValueError where `scale` is not positive, or `learned` neither true nor false."""

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
