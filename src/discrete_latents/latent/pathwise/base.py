"""Pathwise estimators: one run, with the gradient through a relaxed or straight-through sample."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent import layout
from discrete_latents.latent.distributions import categorical_kl, categorical_log_prob
from discrete_latents.latent.estimator import Estimator, NotDefined, Objective
from discrete_latents.latent.sampler import AnyShape
from discrete_latents.latent.temperature import Learned, Temperature, as_temperature


class Pathwise(Estimator):
    """An estimator that uses one differentiable draw. Subclasses define `rsample`.

    Also a layer: called with logits, (…, K), instead of an objective, it returns a draw, like
    `torch.nn.functional.gumbel_softmax`.

    kl: how the KL from the prior is computed, one of the class's `kls`:
        "analytic": the categorical KL in closed form;
        "sampled": log q(z) − log p(z) of a hard sample;
        "relaxed": the same with the ExpConcrete densities of a soft sample, which makes the relaxed bound a bound.

    Raises ValueError for a KL that the class does not support, and NotDefined for a learned temperature with hard
    samples.
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
            raise NotDefined(
                f"temperature must be a number or a schedule for {type(self).__name__}, whose samples are hard: only "
                "that of soft samples can be learned"
            )

    def rsample(self, logits: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
        """One sample, with this estimator's gradient."""
        raise NotImplementedError

    def forward(self, objective: Objective | Tensor) -> Tensor:
        if isinstance(objective, Tensor):
            return AnyShape(lambda logits, _prior, _shape: (self.rsample(logits), 0.0))(objective)
        return super().forward(objective)

    def draw(self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        expanded = logits.expand(*shape, *logits.shape)
        z = self.rsample(expanded)
        if prior is None:
            return z, 0.0
        if self.kl == "sampled":
            return z, categorical_log_prob(z, expanded) - categorical_log_prob(z, prior)
        self.refuse_analytic_kl(shape)
        return z, categorical_kl(logits, prior)

    def refuse_analytic_kl(self, shape: tuple[int, ...]) -> None:
        """Raises ValueError for several samples."""
        if shape:
            raise ValueError(
                f"samples = {self.samples} with kl = analytic is not a lower bound; allowed with a prior: "
                f"samples = 1, or kl = {' or '.join(kl for kl in self.kls if kl != 'analytic')}"
            )


def straight_through_argmax(soft: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """Exact one-hot of the largest class, with the gradient of `soft`."""
    return with_gradient_of(soft, layout.argmax_one_hot(soft.detach()))


def score(logits: Float[Tensor, "... K"], z: Float[Tensor, "... K"]) -> Float[Tensor, "... 1"]:
    """Zeros whose gradient for the logits is that of log q(z), z − π."""
    log_q = (logits * (z - layout.softmax(logits.detach()))).sum(-1, keepdim=True)
    return log_q - log_q.detach()


def with_gradient_of(soft: Float[Tensor, "... K"], hard: Float[Tensor, "... K"]) -> Float[Tensor, "... K"]:
    """The value of `hard`, exactly, with the gradient of `soft`."""
    return hard + (soft - soft.detach())
