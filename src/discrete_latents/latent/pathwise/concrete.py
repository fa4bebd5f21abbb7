"""Concrete: Gumbel-Softmax with a relaxed prior."""

from discrete_latents.latent.pathwise.gumbel_softmax import GumbelSoftmax
from discrete_latents.latent.temperature import Temperature


class Concrete(GumbelSoftmax):
    """Gumbel-Softmax with a relaxed prior that has its own temperature.

    It is a valid bound on the relaxed model's log-likelihood (Maddison, Mnih, Teh 2017, equation 21), computed in log
    space (appendix C.3).

    The defaults are the paper's for 8 classes (section 5): λ1 = 2/3 for the posterior, λ2 = 2/5 for the prior.
    """

    def __init__(
        self, temperature: float | Temperature = 2 / 3, prior_temperature: float = 2 / 5, samples: int = 1
    ) -> None:
        super().__init__(temperature, "relaxed", samples, prior_temperature)
