"""Exact expectations, by enumeration."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.latent import layout
from discrete_latents.latent.distributions import categorical_kl, categorical_log_prob
from discrete_latents.latent.estimator import Estimator, NotDefined, Objective
from discrete_latents.latent.sampler import Sampler, log_weights


class Exact(Estimator):
    """The bound itself, Σ_z q(z) log p(x | z) − KL, and its exact gradient: no sampling, no bias, no
    variance, at the price of one run over all joint configurations of the latents (marginalisation).

    max_configurations: the most joint configurations, ΠK^N over the `sample` calls, that are enumerated.
        Raises NotDefined for more, before any memory is taken.
    """

    def __init__(self, max_configurations: int = 4096) -> None:
        super().__init__()
        self.max_configurations = whole("max_configurations", max_configurations)

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        sampler = Configurations(self.configurations)
        bound = log_weights(objective, sampler)
        probability = sum(sampler.log_q, torch.zeros(())).exp()
        # What an objective says of a masked class has no meaning and may be NaN.
        return (probability * bound.masked_fill(probability == 0, 0.0)).flatten(0, -2).sum(0)

    def configurations(
        self, num_latents: int, num_classes: int, before: int = 1, device: torch.device | None = None
    ) -> Tensor:
        """All K^N joint class indices of N latents, (K^N, N), where `before` stand already."""
        count = before * num_classes**num_latents
        if count > self.max_configurations:
            raise NotDefined(
                f"exact enumeration of {num_latents} latents of {num_classes} classes takes {count:.3g} "
                f"configurations; allowed: at most max_configurations = {self.max_configurations}"
            )
        classes = torch.arange(num_classes, device=device)
        if num_latents == 0:
            return classes.new_zeros(1, 0)
        return torch.cartesian_prod(*[classes] * num_latents).reshape(-1, num_latents)


class Configurations(Sampler):
    """Gives each call all joint configurations of its latents as a new first dimension, (C, …, B, N, K). What was drawn
    before broadcasts over it, whether or not these logits depend on it.

    enumerate: the class indices, (C, N), of N latents of K classes, given how many configurations stand already.
    """

    def __init__(self, enumerate: Callable[..., Tensor]) -> None:
        super().__init__()
        self.enumerate = enumerate
        self.log_q: list[Tensor] = []
        self.counts: tuple[int, ...] = ()

    def leading(self) -> tuple[int, ...]:
        return self.counts

    def draw(self, logits: Tensor, prior: Tensor | None, _shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        logits = logits[(None,) * (len(self.counts) + 4 - logits.dim())]
        codes = self.enumerate(*logits.shape[-2:], before=math.prod(self.counts), device=logits.device)
        z = layout.one_hot(codes, logits.shape[-1], logits.dtype)
        z = z[:, *(None,) * (logits.dim() - 3)].expand(-1, *logits.shape[1:])
        self.log_q.append(categorical_log_prob(z, logits))
        self.counts = (len(codes), *self.counts)
        return z, 0.0 if prior is None else categorical_kl(logits, prior)
