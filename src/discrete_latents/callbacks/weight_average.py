"""Averages the weights over training: what is validated, saved as the best, tested and loaded is the average."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from discrete_latents.checks import share, whole
from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import ExactWeightAveraging, steady


class WeightAverage(ExactWeightAveraging):
    """An exponential moving average (EMA) of the weights, or their plain average (SWA, Izmailov et al. 2018).

    last.ckpt holds the weights that are trained too, so that a resumed run goes on exactly.

    Args:
        decay: of the moving average; update n keeps min(decay, (1 + n) / (10 + n)) of it, so that the first weights are
            soon forgotten. None: all weights count the same.
        start: share of the training steps before the average begins; until then, the weights are as they are trained.
        every_n_steps: optimiser steps from one update to the next.

    Raises ValueError unless decay and start are at least 0 and below 1 and every_n_steps is at least 1, and UserError
    for a start above 0 where training has no end.
    """

    def __init__(self, decay: float | None = 0.999, start: float = 0.0, every_n_steps: int = 1) -> None:
        super().__init__(self.update)
        self.decay = None if decay is None else share("decay", decay)
        self.start = share("start", start)
        self.every_n_steps = whole("every_n_steps", every_n_steps)
        self.step = self.first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        total = trainer.estimated_stepping_batches
        if self.start and total == float("inf"):
            raise UserError(
                f"callbacks: the start of a WeightAverage must be 0 in training without end, got {self.start}"
            )
        self.first = int(self.start * total) if self.start else 0

    @steady
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *batch)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether the average takes the weights after a step. Lightning asks after every batch until it does."""
        if step_idx is None:
            return False
        self.step = step_idx
        if step_idx <= self.first:
            self.begin_anew()
        return step_idx <= self.first or (step_idx - self.first) % self.every_n_steps == 0

    def update(self, average: list[Tensor], weights: list[Tensor], _: Tensor) -> None:
        """Moves the average towards the weights, in place; a pure function of the step, which the host knows."""
        share_of_weights = 1 - self.kept((self.step - self.first) // self.every_n_steps)
        for own, value in zip(average, weights, strict=True):
            own.lerp_(value, share_of_weights)

    def kept(self, updates: int) -> float:
        """The share of the average that an update keeps, after `updates` earlier ones."""
        if self.decay is None:
            return updates / (updates + 1)
        return min(self.decay, (1 + updates) / (10 + updates))
