"""The optimiser and its learning rate over training."""

from collections.abc import Callable, Iterable

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

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.algorithm(parameters, lr=self.lr)
