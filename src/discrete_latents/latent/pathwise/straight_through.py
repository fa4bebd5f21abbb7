"""Straight-through: one-hot samples forward, the gradient of the probabilities backward."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of
from discrete_latents.latent.subsets import marginals, sample_subset, subset_kl, subset_log_prob


class StraightThrough(Pathwise):
    """Forward: an exact sample. Backward: through softmax(logits / τ) (Bengio, Léonard, Courville 2013).

    At τ = 1, the plain estimator, it is exact for objectives linear in z. With a falling τ, 1 / τ is the slope of
    slope-annealed straight-through (Chung, Ahn, Bengio 2017; "annealed ST" of Jang et al. 2017). The slope applies only
    to the backward pass: samples still come from the model's distribution.

    Of subsets, the backward pass is that of the exact marginals of logits / τ (SIMPLE of Ahmed, Zeng, Niepert, Van den
    Broeck 2023).
    """

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return with_gradient_of(layout.softmax(logits / self.temperature()), sample(logits))

    def draw_subset(
        self, logits: Tensor, size: int, prior: Tensor | None, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        expanded = logits.expand(*shape, *logits.shape)
        z = with_gradient_of(marginals(expanded / self.temperature(), size), sample_subset(expanded, size))
        if prior is None:
            return z, 0.0
        if self.kl == "sampled":
            return z, subset_log_prob(z, expanded, size) - subset_log_prob(z, prior, size)
        self.refuse_analytic_kl(shape)
        return z, subset_kl(logits, prior, size)
