"""p(x | z): what a decoder's output means. Densities are summed over the pixels of an image, in nats."""

from jaxtyping import Float
from torch import Tensor, nn

from discrete_latents.latent.sampler import at_least_float32


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
