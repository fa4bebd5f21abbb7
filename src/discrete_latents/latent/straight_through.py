"""Straight-through estimators: one-hot samples forward, a softmax's gradient backward."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.checks import positive
from discrete_latents.latent.distributions import gumbel_like, sample
from discrete_latents.latent.pathwise import Pathwise
from discrete_latents.latent.temperature import Temperature


class StraightThrough(Pathwise):
    """Forward an exact sample, backward through its probabilities softmax(logits / τ) (Bengio, Léonard, Courville
    2013). Exact for objectives that are linear in z at τ = 1, the plain estimator. With a τ that falls, 1 / τ is the
    slope of slope-annealed straight-through (Chung, Ahn, Bengio 2017; "annealed ST" of Jang et al. 2017),
    here of the backward pass alone: the samples stay those of the model that the bound is of."""

    def draw(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return with_gradient_of(layout.softmax(logits / self.temperature()), sample(logits))


class STGumbel(Pathwise):
    """Straight-through Gumbel-Softmax: forward one-hot argmax((logits + Gumbel)), an exact categorical
    sample, backward through the softmax at τ (Jang, Gu, Poole 2017, section 2.2)."""

    def draw(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return straight_through(layout.softmax((logits + gumbel_like(logits)) / self.temperature()))


class DecoupledSTGumbel(Pathwise):
    """ST-Gumbel with a temperature for each direction (Shah, Yan, Mozer, Liu 2024): forward one-hot
    argmax(logits / τ_f + Gumbel), how far samples explore; backward through softmax((logits + Gumbel) / τ), how a
    gradient is spread over the classes.

    forward_temperature: τ_f. At 1 the samples are the model's and this is ST-Gumbel at τ; elsewhere the bound's value
        is that of samples drawn at τ_f, with the KL of the model's own probabilities.
    """

    def __init__(
        self,
        temperature: float | Temperature = 1.0,
        forward_temperature: float = 1.0,
        kl: str = "analytic",
        samples: int = 1,
    ) -> None:
        super().__init__(temperature, kl, samples)
        self.forward_temperature = positive("forward_temperature", forward_temperature)

    def draw(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        noise = gumbel_like(logits)
        soft = layout.softmax((logits + noise) / self.temperature())
        return with_gradient_of(soft, largest(logits.detach() / self.forward_temperature + noise))


def straight_through(soft: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """One-hot of the largest class, exactly, with the gradient of `soft`."""
    return with_gradient_of(soft, largest(soft.detach()))


def largest(x: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """One-hot of the largest class."""
    codes = layout.classes_first(x).argmax(layout.class_dim(x))
    return layout.one_hot(codes, x.shape[-1], x.dtype)


def with_gradient_of(soft: Float[Tensor, "... K"], hard: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """`hard`, exactly, with the gradient of `soft`."""
    return hard + (soft - soft.detach())
