"""Draws of an estimator's gradient for the logits, and their statistics: bias, variance, signal-to-noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent.distributions import categorical_log_prob
from discrete_latents.latent.estimator import Estimator, Objective
from discrete_latents.latent.exact import Exact
from discrete_latents.latent.sampler import AnyShape, Sampler


@dataclass
class Draws:
    """R draws. bounds: (R, B), nats. gradients: (R, B, N, K), of each bound for the image's first-layer logits."""

    bounds: Float[Tensor, "R B"]
    gradients: Float[Tensor, "R B N K"]

    def mean(self) -> Float[Tensor, "B N K"]:
        return self.gradients.mean(0)

    def variance(self) -> Tensor:
        """E‖g − E g‖² of an image's gradient, averaged over images, ()."""
        return self.gradients.var(0).sum((-1, -2)).mean()

    def signal_to_noise(self) -> Tensor:
        """√(‖E g‖² / E‖g − E g‖²), each averaged over images, ().

        The squared mean of R draws overestimates ‖E g‖² by variance / R, which is subtracted.
        """
        variance = self.variance()
        signal = self.mean().square().sum((-1, -2)).mean() - variance / len(self.gradients)
        return (signal.clamp(min=0) / variance).sqrt()

    def bias(self, exact: Float[Tensor, "B N K"]) -> Tensor:
        """‖E g − g*‖ / ‖g*‖ over all images, (), with g* the exact gradient.

        Even for an unbiased estimator it is about `floor`, from the noise of R draws.
        """
        return (self.mean() - exact).norm() / exact.norm()

    def floor(self, exact: Float[Tensor, "B N K"]) -> Tensor:
        """√(E‖g − E g‖² / R) / ‖g*‖, (): its square is what the noise of R draws adds to the squared bias."""
        return (self.variance() * len(exact) / len(self.gradients)).sqrt() / exact.norm()

    def cosine(self, exact: Float[Tensor, "B N K"]) -> Tensor:
        """The cosine between a draw and the exact gradient, averaged over draws and images, (); 0 for a zero draw."""
        return F.cosine_similarity(self.gradients.flatten(-2), exact.flatten(-2), dim=-1).mean()


def draw_gradients(estimator: Estimator, objective: Objective, repeats: int) -> Draws:
    """`repeats` draws. Work outside the objective, such as the encoder, is not repeated and needs no gradient."""
    draws = [draw_gradient(estimator, objective) for _ in range(repeats)]
    bounds, gradients = (torch.stack(values) for values in zip(*draws, strict=True))
    return Draws(bounds, gradients)


@torch.enable_grad()
def draw_gradient(estimator: Estimator, objective: Objective) -> tuple[Tensor, Tensor]:
    """One draw of the bound, (B,), and of its gradient for the first layer's logits, (B, N, K)."""
    first: list[Tensor] = []

    def traced(sample: Callable[..., Tensor]) -> Tensor:
        return objective(Traced(sample, first))  # type: ignore[arg-type]

    bound = estimator(traced)
    return bound.detach(), torch.autograd.grad(bound.sum(), first[0])[0]


def exact_gradient(objective: Objective, samples: int = 1, max_configurations: int = 4096) -> Float[Tensor, "B N K"]:
    """The gradient of the exact bound, or of the exact m-sample bound, which enumerates all samples jointly.

    Raises ValueError for more than `max_configurations`.
    """
    bound = objective if samples == 1 else multi_sample(objective, samples)
    return draw_gradient(Exact(max_configurations), bound)[1]


def multi_sample(objective: Objective, samples: int) -> Objective:
    """The m-sample bound log (1/m) Σ w as an objective that samples m times and includes the KL itself."""

    def bound(sample: Callable[..., Tensor]) -> Tensor:
        def draw(logits: Tensor, prior: Tensor | None, _shape: tuple[int, ...]) -> tuple[Tensor, Tensor | float]:
            z = sample(logits)
            return z, 0.0 if prior is None else categorical_log_prob(z, logits) - categorical_log_prob(z, prior)

        total = torch.tensor(-math.inf)
        for _ in range(samples):
            sampler = AnyShape(draw)
            total = torch.logaddexp(total, objective(sampler) - sampler.kl)
        return total - math.log(samples)

    return bound


class Traced:
    """A sampler that records the logits it is given."""

    def __init__(self, sample: Any, seen: list[Tensor]) -> None:
        self.sample = sample
        self.seen = seen

    def __call__(self, logits: Tensor, prior: Tensor | None = None, **how: Tensor) -> Tensor:
        self.seen.append(logits)
        return self.sample(logits, prior=prior, **how)

    def subset(self, logits: Tensor, size: int, prior: Tensor | None = None) -> Tensor:
        self.seen.append(logits)
        return self.sample.subset(logits, size, prior)

    binomial, poisson = Sampler.binomial, Sampler.poisson

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sample, name)
