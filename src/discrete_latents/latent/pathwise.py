"""Path-derivative estimators: one run, the gradient flows through a relaxed or straight-through sample."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.checks import positive
from discrete_latents.latent.distributions import (
    categorical_kl,
    categorical_log_prob,
    exp_concrete,
    exp_concrete_log_prob,
    gumbel_like,
)
from discrete_latents.latent.estimator import Estimator, Objective, Sampler
from discrete_latents.latent.temperature import Learned, Temperature, as_temperature


class Pathwise(Estimator):
    """An estimator that is one differentiable draw. Subclasses define `draw`.

    kl: how the KL from the prior is computed, one of the class's `kls`: "analytic", the categorical KL in
        closed form; "sampled", log q(z) − log p(z) of a hard sample; "relaxed", the same of the ExpConcrete
        densities of a soft sample, which makes the relaxed bound a bound.
    Also a layer: called with logits instead of an objective, (…, K), it returns a draw, as
    `torch.nn.functional.gumbel_softmax` does. Raises ValueError for a KL that the class does not have, and
    for hard samples with a learned temperature.
    """

    kls: ClassVar[Sequence[str]] = ("analytic", "sampled")
    temperature: Temperature

    def __init__(self, temperature: float | Temperature = 1.0, kl: str = "analytic", samples: int = 1) -> None:
        super().__init__(samples)
        if kl not in self.kls:
            raise ValueError(f"kl must be one of {', '.join(self.kls)} for {type(self).__name__}, got {kl!r}")
        self.kl = kl
        self.temperature = as_temperature(temperature)
        if isinstance(self.temperature, Learned) and not self.relaxed:
            raise ValueError(
                f"temperature must be a number or a schedule for {type(self).__name__}, whose samples are hard: only "
                "that of soft samples can be learned"
            )

    def draw(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        """One sample, with this estimator's gradient."""
        raise NotImplementedError

    def forward(self, objective: Objective | Tensor) -> Tensor:
        if isinstance(objective, Tensor):
            return Sampler(lambda logits, _prior, _shape: (self.draw(logits), 0.0))(objective)
        return super().forward(objective)

    def site(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        expanded = logits.expand(*shape, *logits.shape)
        z = self.draw(expanded)
        if prior is None:
            return z, 0.0
        if self.kl == "sampled":
            return z, categorical_log_prob(z, expanded) - categorical_log_prob(z, prior)
        if shape:
            raise ValueError(
                f"samples = {self.samples} with kl = analytic is not a lower bound; allowed with a prior: "
                f"samples = 1, or kl = {' or '.join(kl for kl in self.kls if kl != 'analytic')}"
            )
        return z, categorical_kl(logits, prior)


class GumbelSoftmax(Pathwise):
    """z = softmax((logits + Gumbel) / τ): soft samples, biased for the discrete model, low variance
    (Jang, Gu, Poole 2017, equation 2).

    prior_temperature: the τ of the relaxed prior where kl = "relaxed"; the posterior's own where None.

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

    def draw(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        return layout.softmax((logits + gumbel_like(logits)) / self.temperature())

    def site(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        if self.kl == "analytic" or prior is None:
            return super().site(logits, prior, shape)
        temperature = self.temperature()
        prior_temperature = temperature if self.prior_temperature is None else self.prior_temperature
        y = exp_concrete(logits.expand(*shape, *logits.shape), temperature)
        # Negative for some samples, and meant to be: only its mean is a divergence.
        kl = exp_concrete_log_prob(y, logits, temperature) - exp_concrete_log_prob(y, prior, prior_temperature)
        return y.exp(), kl


class Concrete(GumbelSoftmax):
    """Gumbel-Softmax with a relaxed prior of its own temperature: a valid bound on the relaxed model's
    log-likelihood (Maddison, Mnih, Teh 2017, equation 21), computed in log space (appendix C.3).

    The defaults are the paper's for 8 classes (section 5): λ1 = 2/3 for the posterior, λ2 = 2/5 for the prior.
    """

    def __init__(
        self, temperature: float | Temperature = 2 / 3, prior_temperature: float = 2 / 5, samples: int = 1
    ) -> None:
        super().__init__(temperature, "relaxed", samples, prior_temperature)
