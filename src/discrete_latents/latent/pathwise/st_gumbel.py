"""Straight-through Gumbel-Softmax, with one temperature or with separate forward and backward temperatures."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import positive
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import gumbel_like
from discrete_latents.latent.pathwise.base import Pathwise, with_gradient_of
from discrete_latents.latent.temperature import Temperature


class STGumbel(Pathwise):
    """Straight-through Gumbel-Softmax (Jang, Gu, Poole 2017, section 2.2).

    Forward: one-hot argmax(logits + Gumbel), an exact categorical sample. Backward: through the softmax at τ.
    """

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        perturbed = logits + gumbel_like(logits)
        # Not the argmax of the soft values: at high temperatures these tie in float32.
        return with_gradient_of(
            layout.softmax(perturbed / self.temperature()), layout.argmax_one_hot(perturbed.detach())
        )


class DecoupledSTGumbel(Pathwise):
    """ST-Gumbel with separate forward and backward temperatures (Shah, Yan, Mozer, Liu 2024).

    Forward: one-hot argmax(logits / τ_f + Gumbel); τ_f sets how far samples explore. Backward: through
    softmax((logits + Gumbel) / τ); τ sets how the gradient spreads over the classes. This is the first version of the
    paper. The second, "Decoupled ST", has the same two temperatures and sets them apart from ST-Gumbel; at τ_f = 1 and
    without noise in the backward pass it would be annealed straight-through.

    forward_temperature: τ_f. At 1 the samples are the model's, and this is ST-Gumbel at τ. Otherwise the bound uses
        samples drawn at τ_f, with the KL of the model's own probabilities.
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
        return with_gradient_of(soft, layout.argmax_one_hot(logits.detach() / self.forward_temperature + noise))
