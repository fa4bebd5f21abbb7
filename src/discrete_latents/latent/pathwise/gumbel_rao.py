"""Gumbel-Rao: ST-Gumbel with its noise averaged out."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import conditional_gumbels, sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of
from discrete_latents.latent.temperature import Temperature


class GumbelRao(Pathwise):
    """The ST-Gumbel gradient averaged given the sampled class (Paulus, Maddison, Krause 2021, section 3).

    Forward: a sample D. Backward: through the mean over k of softmax((logits + G_k) / τ), with G_k drawn given that D
    is the largest class of logits + G_k. The dependence of G_k on the logits is not differentiated: a draw's gradient
    is that of the softmax at fixed noise. The mean gradient is ST-Gumbel's, and more draws reduce the
    variance.

    draws: the number of G_k; 10, 100 or 1000 in the paper.
    """

    def __init__(
        self, temperature: float | Temperature = 1.0, draws: int = 10, kl: str = "analytic", samples: int = 1
    ) -> None:
        super().__init__(temperature, kl, samples)
        self.draws = whole("draws", draws)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        hard, fixed = sample(logits), logits.detach()
        return with_gradient_of(averaged_softmax(fixed, logits - fixed, hard, self.draws, self.temperature()), hard)


def averaged_softmax(
    around: Float[Tensor, "... K"],
    moved: Float[Tensor, "... K"],
    hard: Float[Tensor, "... K"],
    draws: int,
    temperature: Tensor,
) -> Float[Tensor, "... K"]:
    """The mean of softmax((a + G + moved) / τ), with a = `around`, over draws of G given that one-hot `hard` is the
    largest class of a + G. moved: 0, with the gradient of the logits."""
    perturbed = conditional_gumbels(around, hard, draws) + moved
    return layout.softmax(perturbed / temperature).mean(0)
