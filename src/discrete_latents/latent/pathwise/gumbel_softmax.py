"""Gumbel-Softmax: soft samples."""

from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import positive
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import exp_concrete, exp_concrete_log_prob, gumbel_like
from discrete_latents.latent.pathwise.base import Pathwise
from discrete_latents.latent.temperature import Temperature


class GumbelSoftmax(Pathwise):
    """z = softmax((logits + Gumbel) / τ) (Jang, Gu, Poole 2017, equation 2).

    The samples are soft: the gradient is biased for the discrete model and has low variance.

    prior_temperature: τ of the relaxed prior if kl = "relaxed"; None: the posterior's.

        z = GumbelSoftmax(temperature=0.5)(logits)      # a layer of any network
    """

    relaxed = True
    kls = ("analytic", "relaxed")

    def __init__(
        self,
        temperature: float | Temperature = 1.0,
        kl: str = "analytic",
        samples: int = 1,
        prior_temperature: float | None = None,
    ) -> None:
        super().__init__(temperature, kl, samples)
        if prior_temperature is not None and kl != "relaxed":
            raise ValueError(
                f"prior_temperature must be null with kl = {kl}, which does not use it, got {prior_temperature!r}"
            )
        if prior_temperature is not None:
            positive("prior_temperature", prior_temperature)
        self.prior_temperature = prior_temperature

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return layout.softmax((logits + gumbel_like(logits)) / self.temperature())

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        if self.kl == "analytic" or prior is None:
            return super().draw(logits, prior, shape)
        temperature = self.temperature()
        prior_temperature = temperature if self.prior_temperature is None else self.prior_temperature
        y = exp_concrete(logits.expand(*shape, *logits.shape), temperature)
        # May be negative for a sample: only its mean is a divergence.
        kl = exp_concrete_log_prob(y, logits, temperature) - exp_concrete_log_prob(y, prior, prior_temperature)
        return y.exp(), kl
