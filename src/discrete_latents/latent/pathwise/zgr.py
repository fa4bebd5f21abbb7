"""ZGR: half straight-through, half score function."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, score, with_gradient_of


class ZGR(Pathwise):
    """Forward: a sample z. Backward: the limit of Gumbel-Rao at τ → 0 (Shekhovtsov 2023; Hooper, Shekhovtsov 2026).

    It is the mean of two estimators of first order: straight-through, and the score function with the baseline
    f(z) + f′(z)ᵀ(π − z), whose correction is left out. A gradient v of z becomes ½ vᵀ ∂π/∂logits + ½ vᵀ(z − π) (z − π).
    On objectives quadratic in each latent the errors of the two are opposite, so that the mean is exact.
    """

    def __init__(self, kl: str = "analytic", samples: int = 1) -> None:
        super().__init__(1.0, kl, samples)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        z, mean = sample(logits), layout.softmax(logits)
        return with_gradient_of((mean + (z - mean.detach()) * score(logits, z)) / 2, z)
