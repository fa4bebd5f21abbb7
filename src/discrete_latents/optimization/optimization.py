"""The optimiser and its learning rate over training."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from discrete_latents.checks import positive
from discrete_latents.optimization.rate_schedule import ConstantRate, RateSchedule


class Optimization:
    """An optimiser and its learning rate, `lr` times the factor of `schedule`.

    algorithm: builds the optimiser, called with parameters and `lr`. schedule: None: constant. Raises ValueError unless
    lr > 0.
    """

    def __init__(
        self,
        algorithm: Callable[..., torch.optim.Optimizer],
        lr: float = 1e-3,
        schedule: RateSchedule | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.lr = positive("lr", lr)
        self.schedule = schedule or ConstantRate()

    def rate(self, step: int, total_steps: float) -> float:
        """The learning rate at an optimiser step, a pure function of the global step."""
        return self.lr * self.schedule.factor(step, total_steps)

    def optimizer(
        self, parameters: Iterable[nn.Parameter], factors: Sequence[float] | None = None
    ) -> torch.optim.Optimizer:
        """factors: multiply the learning rate of each parameter; None: 1. Those of one factor are a group of the
        optimiser, which has the "factor". The group of factor 1 is the first."""
        if factors is None or set(factors) <= {1.0}:
            return self.algorithm(parameters, lr=self.lr)
        pairs = list(zip(parameters, factors, strict=True))
        groups = [
            {"params": [own for own, its in pairs if its == factor], "lr": self.lr * factor, "factor": factor}
            for factor in sorted({1.0, *factors}, key=lambda factor: (factor != 1, factor))
        ]
        return self.algorithm(groups, lr=self.lr)
