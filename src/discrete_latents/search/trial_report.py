"""Reports a run's validations to its trial, and stops the run if the trial is pruned."""

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import lightning.pytorch as pl

from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import steady


@runtime_checkable
class Trial(Protocol):
    """The part of an Optuna trial that is used."""

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...


class TrialReport(pl.Callback):
    """Reports `metric` to a trial after each validation, and ends training if the trial is pruned.

    quiet: no progress bar. metrics: those of the best validation so far. Raises UserError for a metric that is not
    finite, and KeyboardInterrupt, as Ctrl-C does, when `interrupted` returns True.
    """

    def __init__(
        self, trial: Trial, metric: str, maximize: bool, interrupted: Callable[[], bool], quiet: bool = False
    ) -> None:
        self.trial = trial
        self.metric = metric
        self.sign = -1 if maximize else 1
        self.interrupted = interrupted
        self.quiet = quiet
        self.metrics: dict[str, float] = {}
        self.validations = 0
        self.pruned = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.quiet and trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.disable()

    @steady
    def on_train_batch_start(self, *_: Any) -> None:
        if self.interrupted():
            raise KeyboardInterrupt

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        value = logged[self.metric]
        if not math.isfinite(value):
            raise UserError(f"{self.metric} is {value} after epoch {trainer.current_epoch + 1}")
        if not self.metrics or self.sign * value < self.sign * self.metrics[self.metric]:
            self.metrics = logged
        self.validations += 1
        self.trial.report(value, self.validations)
        if self.trial.should_prune():
            self.pruned = True
            trainer.should_stop = True
