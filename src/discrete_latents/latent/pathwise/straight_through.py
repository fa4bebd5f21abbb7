"""Straight-through: one-hot samples forward, the gradient of the probabilities backward."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of


class StraightThrough(Pathwise):
    """Forward: an exact sample. Backward: through softmax(logits / τ) (Bengio, Léonard, Courville 2013).

    At τ = 1, the plain estimator, it is exact for objectives linear in z. With a falling τ, 1 / τ is the slope of
    slope-annealed straight-through (Chung, Ahn, Bengio 2017; "annealed ST" of Jang et al. 2017). The slope applies only
    to the backward pass: samples still come from the model's distribution.
    """

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return with_gradient_of(layout.softmax(logits / self.temperature()), sample(logits))
