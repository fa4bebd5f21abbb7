"""Exact expectations by enumeration."""

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
from discrete_latents.latent.subsets import all_subsets, subset_kl, subset_log_prob


class Exact(Estimator):
    """The bound Σ_z q(z) log p(x | z) − KL and its gradient, both exact: no sampling, no bias, no variance.

    It runs the objective once over all joint configurations of the latents (marginalisation).

    max_configurations: limit on the joint configurations, ΠK^N over the `sample` calls. Raises NotDefined above it,
        before allocating memory.
    """

    def __init__(self, max_configurations: int = 4096) -> None:
        super().__init__()
        self.max_configurations = whole("max_configurations", max_configurations)

    def forward(self, objective: Objective) -> Float[Tensor, " B"]:
        return expectation(objective, Configurations(self.configurations))

    def configurations(
        self, num_latents: int, num_classes: int, before: int = 1, device: torch.device | None = None
    ) -> Tensor:
        """All K^N joint class indices of N latents, (K^N, N). before: configurations of the earlier calls."""
        number_of_configurations(num_latents, num_classes, before, self.max_configurations)
        classes = torch.arange(num_classes, device=device)
        if num_latents == 0:
            return classes.new_zeros(1, 0)
        return torch.cartesian_prod(*[classes] * num_latents).reshape(-1, num_latents)


def number_of_configurations(num_latents: int, num_classes: int, before: int, most: int) -> int:
    """K^N times those of earlier calls. Raises NotDefined for more than `most`."""
    count = before * num_classes**num_latents
    if count > most:
        raise NotDefined(
            f"exact enumeration of {num_latents} latents of {num_classes} classes takes {count:.3g} "
            f"configurations; allowed: at most max_configurations = {most}"
        )
    return count


class Enumeration(Sampler):
    """Returns states of a call's latents along a new first dimension, (C, …, B, N, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_q: list[Tensor] = []
        self.counts: tuple[int, ...] = ()

    def leading(self) -> tuple[int, ...]:
        return self.counts


def expectation(objective: Objective, sampler: Enumeration) -> Float[Tensor, " B"]:
    """Σ_z q(z) times the bound at z, over the states that a sampler returns."""
    bound = log_weights(objective, sampler)
    probability = sum(sampler.log_q, torch.zeros(())).exp()
    # The objective's value for a masked class is meaningless and may be NaN.
    return (probability * bound.masked_fill(probability == 0, 0.0)).flatten(0, -2).sum(0)


class Configurations(Enumeration):
    """Returns all joint configurations of a call's latents along a new first dimension, (C, …, B, N, K).

    Earlier draws broadcast over it, whether or not the logits depend on them.

    enumerate: returns the class indices, (C, N), of N latents of K classes, given the number of earlier configurations.
    """

    def __init__(self, enumerate: Callable[..., Tensor]) -> None:
        super().__init__()
        self.enumerate = enumerate

    def draw(self, logits: Tensor, prior: Tensor | None, _shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
        classes = logits.shape[-1]
        z, logits = self.joint(logits, classes, lambda codes: layout.one_hot(codes, classes, logits.dtype))
        self.log_q.append(categorical_log_prob(z, logits))
        return z, 0.0 if prior is None else categorical_kl(logits, prior)

    def draw_subset(
        self, logits: Tensor, size: int, prior: Tensor | None, _shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        classes = logits.shape[-1]
        z, logits = self.joint(
            logits, math.comb(classes, size), lambda codes: all_subsets(classes, size, logits)[codes]
        )
        self.log_q.append(subset_log_prob(z, logits, size))
        return z, 0.0 if prior is None else subset_kl(logits, prior, size)

    def joint(self, logits: Tensor, states: int, vectors: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """z in all configurations of latents of so many states, and the logits with as many dimensions. vectors: those
        of the states' indices, (C, N) to (C, N, K). Raises NotDefined for too many, before it asks for vectors."""
        logits = logits[(None,) * (len(self.counts) + 4 - logits.dim())]
        codes = self.enumerate(logits.shape[-2], states, before=math.prod(self.counts), device=logits.device)
        self.counts = (len(codes), *self.counts)
        return vectors(codes)[:, *(None,) * (logits.dim() - 3)].expand(-1, *logits.shape[1:]), logits
