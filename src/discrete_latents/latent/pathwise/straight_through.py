"""Straight-through: one-hot samples forward, the probabilities' gradient backward."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of


class StraightThrough(Pathwise):
    """Forward an exact sample, backward through its probabilities softmax(logits / τ) (Bengio, Léonard, Courville
    2013). Exact for objectives that are linear in z at τ = 1, the plain estimator. With a τ that falls, 1 / τ is the
    slope of slope-annealed straight-through (Chung, Ahn, Bengio 2017; "annealed ST" of Jang et al. 2017),
    here of the backward pass alone: the samples stay those of the model that the bound is of."""

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return with_gradient_of(layout.softmax(logits / self.temperature()), sample(logits))
