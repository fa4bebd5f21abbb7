"""ReinMax with Gumbel noise around its midpoint: in place of it, or as a control variate."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import finite, truth, whole
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import conditional_gumbels, gumbel_like, sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of
from discrete_latents.latent.pathwise.gumbel_rao import averaged_softmax
from discrete_latents.latent.pathwise.reinmax import moving
from discrete_latents.latent.temperature import Temperature


class ReinMaxRao(Pathwise):
    """ReinMax with Gumbel-Rao at its midpoint (Wang, Bui 2026, ReinMax-Rao).

    Forward: a sample D. Backward: through 2 ḡ − π / 2, with ḡ the mean over k of softmax((θ_D + G_k) / τ), where θ_D =
    log((π + D) / 2) moves with the logits and G_k is drawn given that D is the largest class of θ_D + G_k.

    It has less variance than ReinMax and another bias: it is not exact even for linear objectives. As τ → 0 its mean
    gradient of those is half the exact one.

    draws: the number of G_k.
    """

    def __init__(
        self, temperature: float | Temperature = 0.5, draws: int = 10, kl: str = "analytic", samples: int = 1
    ) -> None:
        super().__init__(temperature, kl, samples)
        self.draws = whole("draws", draws)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        hard = sample(logits)
        middle, moved = midpoint(logits, hard), logits - logits.detach()
        averaged = averaged_softmax(middle, moved, hard, self.draws, self.temperature())
        soft = 2 * averaged - layout.softmax(logits) / 2
        return with_gradient_of(soft, hard)


class ReinMaxCV(Pathwise):
    """ReinMax plus η (Gumbel-Rao − ST-Gumbel), both around its midpoint θ_D (Wang, Bui 2026, ReinMax-CV).

    With the noise of ST-Gumbel given D, as that of Gumbel-Rao is, the added term has the mean 0 at each D. It then
    cannot reduce the variance: ReinMax is a function of D, with which such a term is uncorrelated. The paper uses the
    noise that D was drawn with, whose law given D is that of θ and not of θ_D: the term has a mean, and the estimator
    ReinMax's variance and bias no more.

    scale: η; 0 is ReinMax. draws: noise samples of Gumbel-Rao. conditional: whether the noise of ST-Gumbel is drawn
        given D around θ_D; false: the paper's.
    """

    def __init__(
        self,
        temperature: float | Temperature = 0.5,
        scale: float = 0.5,
        draws: int = 10,
        conditional: bool = False,
        kl: str = "analytic",
        samples: int = 1,
    ) -> None:
        super().__init__(temperature, kl, samples)
        self.scale, self.draws = finite("scale", scale), whole("draws", draws)
        self.conditional = truth("conditional", conditional)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        noise, moved = gumbel_like(logits), logits - logits.detach()
        hard = layout.argmax_one_hot(logits.detach() + noise)
        middle = midpoint(logits, hard)
        temperature = self.temperature()
        averaged = averaged_softmax(middle, moved, hard, self.draws, temperature)
        single = (conditional_gumbels(middle, hard) if self.conditional else middle + noise) + moved
        added = averaged - layout.softmax(single / temperature)
        soft = 2 * moving(middle.exp(), logits) - layout.softmax(logits) / 2 + self.scale * added
        return with_gradient_of(soft, hard)


def midpoint(logits: Float[Tensor, "... K"], hard: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """θ_D = log((π + D) / 2), without gradient."""
    return torch.logaddexp(layout.log_softmax(logits.detach()), hard.log()) - math.log(2)
