"""Gapped straight-through: ST-Gumbel's properties without its noise."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import positive
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of
from discrete_latents.latent.temperature import Temperature


class GappedStraightThrough(Pathwise):
    """Forward: a sample D. Backward: through softmax((logits + m) / τ) (GST of Fan, Chi, Rudnicky, Ramadge 2022).

    The constant m raises the logit of D to the largest and lowers the others to at least `gap` below it. Like
    ST-Gumbel's softmax, it agrees with the sample and leaves a gap, but only D is random.

    gap: the paper's best is 1.
    """

    def __init__(
        self, temperature: float | Temperature = 1.0, gap: float = 1.0, kl: str = "analytic", samples: int = 1
    ) -> None:
        super().__init__(temperature, kl, samples)
        self.gap = positive("gap", gap)

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        hard, fixed = sample(logits), logits.detach()
        top = fixed.amax(-1, keepdim=True)
        moved = hard * top + (1 - hard) * fixed.minimum(top - self.gap)
        return with_gradient_of(layout.softmax((moved + (logits - fixed)) / self.temperature()), hard)
