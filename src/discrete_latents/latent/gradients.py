"""Draws of an estimator's gradient for the logits, and what they are like."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from discrete_latents.latent.estimator import Estimator, Objective


@dataclass
class Draws:
    """bounds: (R, B), nats. gradients: (R, B, N, K), of each image's bound for its logits of the first layer."""

    bounds: Float[Tensor, "R B"]
    gradients: Float[Tensor, "R B N K"]

    def mean(self) -> Float[Tensor, "B N K"]:
        return self.gradients.mean(0)

    def variance(self) -> Tensor:
        """E‖g − E g‖² of an image's gradient, the mean over images, ()."""
        return self.gradients.var(0).sum((-1, -2)).mean()

    def signal_to_noise(self) -> Tensor:
        """√(‖E g‖² / E‖g − E g‖²), each a mean over images, (). The square of the mean of R draws is larger than that
        of the mean by a share 1/R of the variance, which is taken off."""
        variance = self.variance()
        signal = self.mean().square().sum((-1, -2)).mean() - variance / len(self.gradients)
        return (signal.clamp(min=0) / variance).sqrt()


def draw_gradients(estimator: Estimator, objective: Objective, repeats: int) -> Draws:
    """`repeats` draws. What the objective computes before it samples, such as the encoder, is run once, beforehand; its
    gradient is not needed."""
    draws = [draw_gradient(estimator, objective) for _ in range(repeats)]
    bounds, gradients = (torch.stack(values) for values in zip(*draws, strict=True))
    return Draws(bounds, gradients)


@torch.enable_grad()
def draw_gradient(estimator: Estimator, objective: Objective) -> tuple[Tensor, Tensor]:
    """One draw of the bound, (B,), and of its gradient for the logits of the first layer, (B, N, K)."""
    first: list[Tensor] = []

    def traced(sample: Callable[..., Tensor]) -> Tensor:
        return objective(Traced(sample, first))  # type: ignore[arg-type]

    bound = estimator(traced)
    return bound.detach(), torch.autograd.grad(bound.sum(), first[0])[0]


class Traced:
    """A sampler that notes the logits it is given."""

    def __init__(self, sample: Any, seen: list[Tensor]) -> None:
        self.sample = sample
        self.seen = seen

    def __call__(self, logits: Tensor, prior: Tensor | None = None) -> Tensor:
        self.seen.append(logits)
        return self.sample(logits, prior=prior)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sample, name)
