"""Straight-through Gumbel-Softmax, with one temperature or with one for each direction."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import positive
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import gumbel_like
from discrete_latents.latent.pathwise.base import Pathwise, argmax_one_hot, with_gradient_of
from discrete_latents.latent.temperature import Temperature


class STGumbel(Pathwise):
    """Straight-through Gumbel-Softmax: forward one-hot argmax((logits + Gumbel)), an exact categorical
    sample, backward through the softmax at τ (Jang, Gu, Poole 2017, section 2.2)."""

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        perturbed = logits + gumbel_like(logits)
        # Not the class of the largest soft value: at high temperatures float32 has ties.
        return with_gradient_of(layout.softmax(perturbed / self.temperature()), argmax_one_hot(perturbed.detach()))


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

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        noise = gumbel_like(logits)
        soft = layout.softmax((logits + noise) / self.temperature())
        return with_gradient_of(soft, argmax_one_hot(logits.detach() / self.forward_temperature + noise))
