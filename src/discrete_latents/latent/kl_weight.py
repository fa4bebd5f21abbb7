"""The KL in training: its weight β, and free bits, as functions of the step.

They change the objective that is trained. What is reported as a bound stays one: evaluation leaves them out.
"""

import math

import torch
from torch import Tensor, nn

from discrete_latents.checks import not_negative, whole
from discrete_latents.latent import masks
from discrete_latents.latent.distributions import categorical_kl
from discrete_latents.latent.estimator import Estimator, NotDefined, Objective, WithContext, context_of
from discrete_latents.latent.sampler import Sampler


class KLSchedule(nn.Module):
    """A number of at least 0 that depends on the optimiser step alone, as a temperature does: here, `start` always.

    It is in no checkpoint: a resumed run computes it. Raises ValueError unless start is finite and at least 0.
    """

    value: Tensor

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.start = not_negative("start", start)
        self.register_buffer("value", torch.tensor(self.start), persistent=False)

    def at(self, step: int) -> float:
        """The number at an optimiser step, counted from 0 over all of training."""
        return self.start

    def always(self, number: float) -> bool:
        """Whether it is this number at every step."""
        return type(self) is KLSchedule and self.start == number

    def update(self, step: int) -> None:
        """Sets it to `at(step)`, in place and without synchronising."""
        self.value.fill_(self.at(step))

    def forward(self) -> Tensor:
        return self.value


class LinearKL(KLSchedule):
    """Linear from start to end over `steps` steps, then constant: the warm-up of the KL (Sønderby et al. 2016).

    period: begins again every `period` steps, up or down (Fu et al. 2019); null: never. Raises ValueError unless start
    and end are finite and at least 0, steps ≥ 1 and period ≥ steps.
    """

    def __init__(self, start: float = 0.0, end: float = 1.0, steps: int = 1000, period: int | None = None) -> None:
        super().__init__(start)
        self.end = not_negative("end", end)
        self.steps = whole("steps", steps)
        self.period = None if period is None else whole("period", period, least=steps)

    def at(self, step: int) -> float:
        within = step if self.period is None else step % self.period
        return self.start + (self.end - self.start) * self.shape(min(within / self.steps, 1.0))

    def shape(self, progress: float) -> float:
        """The fraction of the way from start to end, 0 to 1, after a fraction `progress` of the steps."""
        return progress


class CosineKL(LinearKL):
    """Half a cosine from start to end. The rest is as in `LinearKL`."""

    def shape(self, progress: float) -> float:
        return (1 - math.cos(math.pi * progress)) / 2


class KLWeight(nn.Module):
    """Makes an objective whose KL counts as β Σ_n max(λ, KL_n) in a bound, for any estimator.

    β is the weight of all KL terms, Gaussian ones included (Higgins et al. 2017). λ, `free_bits`, are nats of each
    categorical latent that cost no more than λ: KL_n is its mean over batch and samples, and below λ its gradient is
    zero (Kingma et al. 2016, section 4.1). None: β = 1, λ = 0, which leave an objective as it is.
    """

    def __init__(self, beta: KLSchedule | None = None, free_bits: KLSchedule | None = None) -> None:
        super().__init__()
        self.beta = beta or KLSchedule(1.0)
        self.free_bits = free_bits or KLSchedule(0.0)

    @property
    def changes(self) -> bool:
        """Whether the trained objective is another than the bound, at any step."""
        return not (self.beta.always(1.0) and self.free_bits.always(0.0))

    def update(self, step: int) -> None:
        self.beta.update(step)
        self.free_bits.update(step)

    def forward(self, objective: Objective, estimator: Estimator) -> Objective:
        """The objective that an estimator is to train on. Raises NotDefined for free bits of a KL that is no mean."""
        if not self.changes:
            return objective
        free = not self.free_bits.always(0.0)
        if free and (estimator.samples > 1 or getattr(estimator, "kl", None) == "relaxed"):
            raise NotDefined("free_bits must be 0 where samples is above 1 or kl is relaxed: they need the KL itself")
        if free and estimator.law is not None:
            raise NotDefined(f"free_bits must be 0 for {type(estimator).__name__}, whose KL is no sum over latents")

        def weighted(sampler: Sampler) -> Tensor:
            value = objective(sampler)
            kl = sampler.kl  # which the estimator subtracts
            if free:
                kl = kl + self.missing(sampler)
            return value + sampler.kl - self.beta() * kl

        return WithContext(weighted, context_of(objective))

    def missing(self, sampler: Sampler) -> Tensor:
        """Of each image, what the KL of those latents lacks to λ whose mean is below it. (…, B)"""
        total: Tensor | float = 0.0
        for logits, prior in sampler.calls:
            if prior is None:
                continue
            kl = categorical_kl(masks.with_finite_logits(logits).unsqueeze(-2), prior.unsqueeze(-2))  # (…, B, N)
            below = kl.detach().flatten(0, -2).mean(0) < self.free_bits()
            total = total + torch.where(below, self.free_bits() - kl, 0.0).sum(-1)
        return torch.as_tensor(total)
