"""The optimiser and its learning rate over training."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from discrete_latents.checks import positive


class Optimization:
    """An optimiser whose learning rate stays at `lr`, then falls linearly to zero at the last step.

    algorithm: builds the optimiser, called with parameters and `lr`. hold: fraction of the training steps at full `lr`;
    1 never lowers it. Raises ValueError unless lr > 0 and 0 ≤ hold ≤ 1.
    """

    def __init__(self, algorithm: Callable[..., torch.optim.Optimizer], lr: float = 1e-3, hold: float = 1.0) -> None:
        if isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= 1:
            raise ValueError(f"hold must be a number between 0 and 1, got {hold!r}")
        self.algorithm = algorithm
        self.lr = positive("lr", lr)
        self.hold = hold

    def factor(self, step: int, total_steps: float) -> float:
        """The multiplier of `lr` at an optimiser step, a pure function of the global step."""
        if self.hold == 1:
            return 1.0
        return min(1.0, max(0.0, (1 - step / max(total_steps, 1)) / (1 - self.hold)))

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.algorithm(parameters, lr=self.lr)
