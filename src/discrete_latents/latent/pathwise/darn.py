"""DARN's estimator, also called the 1/2 estimator."""

from jaxtyping import Bool, Float
from torch import Tensor

from discrete_latents.latent import masks
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, score


class Darn(Pathwise):
    """The score function with the first-order baseline f(z) + f′(z)ᵀ(u − z).

    The baseline expands the objective around the sample z, per latent, and evaluates it at the uniform u = 1/K. A
    masked class has u = 0.

    The baseline depends on z, and its correction is left out: the gradient is f′(z)ᵀ(z − u) · ∇log q(z). It is biased,
    but exact for Bernoulli latents and objectives quadratic in each of them (Gregor, Danihelka, Mnih, Blundell,
    Wierstra 2014; the 1/2 estimator of Gu, Levine, Sutskever, Mnih 2016). With z and u swapped in the baseline, the
    mean gradient of a quadratic would be 0.

    It needs f′ only at the sample, so it is a backward rule for one run: a gradient v of z becomes vᵀ(z − u) (z − π).
    """

    def __init__(self, kl: str = "analytic", samples: int = 1) -> None:
        super().__init__(1.0, kl, samples)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        z = sample(logits)
        uniform = 1 / logits.shape[-1] if masks.none(logits) else uniform_over(masks.allowed(logits))
        return z + (z - uniform) * score(logits, z)


def uniform_over(there: Bool[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """1/K for each unmasked class, with K their number; 0 for a masked one."""
    return there / there.sum(-1, keepdim=True)
