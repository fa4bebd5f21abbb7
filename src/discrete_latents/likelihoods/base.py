"""Likelihoods p(x | z), parameterised by a decoder's output. Log-densities sum over an image's pixels, in nats."""

from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.latent.sampler import at_least_float32


class Likelihood(nn.Module):
    """The distribution of an image x, (B, *image), given a decoder's output, (*S, B, *image)."""

    def log_prob(self, x: Float[Tensor, "B ..."], output: Float[Tensor, "..."]) -> Tensor:
        """log p(x | z), (*S, B), computed in at least float32."""
        pixels = self.pixel_nll(x, at_least_float32(output))
        return -pixels.flatten(1 - x.dim()).sum(-1)

    def pixel_nll(self, x: Tensor, output: Tensor) -> Tensor:
        """−log p of each pixel, in the shape of the output."""
        raise NotImplementedError

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], as shown in pictures."""
        raise NotImplementedError

    def output_for_mean(self, mean: Tensor) -> Tensor:
        """The inverse of `mean`, used to set the output bias to the data's base rate."""
        raise NotImplementedError
