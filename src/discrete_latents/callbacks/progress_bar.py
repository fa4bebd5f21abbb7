"""One progress bar for all of training."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from discrete_latents.console import console
from discrete_latents.runs.train_log import record_streams

WIDE = 110
"""Columns of a terminal from which the bar has room for all values; below, for one."""
SPEED_PERIOD = 600
"""Seconds over which the remaining time is estimated: a batch of a bound of 50,000 samples can take minutes."""


class Steps(Progress):
    """A bar that asks for the steps done when it is drawn: to be told of each takes as long as small operations."""

    count: Callable[[], int] | None = None

    def get_renderable(self) -> Any:
        if self.count is not None:
            for task in self.task_ids:
                self.update(task, completed=self.count())
        return super().get_renderable()


class RunProgress(ProgressBar):
    """The epoch, optimiser steps done and in all, elapsed and remaining time, and values: the metric by which the best
    checkpoint is chosen, as the last validation had it, then those that the model logs for a bar. Then a bar for
    testing, which counts batches.

    Drawn by rich on stderr, `refresh_rate` times a second, in a thread of its own.
    """

    def __init__(self, refresh_rate: float = 4.0) -> None:
        super().__init__()
        self.refresh_rate = refresh_rate
        self.enabled = True
        self.progress: Steps | None = None

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def start(self, trainer: pl.Trainer, what: str, unit: str, total: float, completed: int = 0) -> None:
        self.stop()
        if not (self.enabled and trainer.is_global_zero):
            return
        self.progress = Steps(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            refresh_per_second=self.refresh_rate,
            speed_estimate_period=SPEED_PERIOD,
            console=console(stderr=True, recorded=False),
        )
        self.progress.start()
        record_streams()
        self.task = self.progress.add_task(
            what, total=None if total == float("inf") else total, completed=completed, values=""
        )

    def stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def values(self, trainer: pl.Trainer) -> str:
        """The values beside the bar, as text: as many as there is room for."""
        monitor = getattr(trainer.checkpoint_callback, "monitor", None)
        chosen = {monitor: trainer.callback_metrics[monitor]} if monitor in trainer.callback_metrics else {}
        others = {
            name.split("/")[-1]: value for name, value in trainer.progress_bar_metrics.items() if name not in chosen
        }
        texts = [f"{name} {float(value):.2f}" for name, value in (chosen | others).items()]  # type: ignore[arg-type]
        assert self.progress is not None
        return "  ".join(texts if self.progress.console.width >= WIDE else texts[:1])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(trainer, "train", "steps", trainer.estimated_stepping_batches, trainer.global_step)
        if self.progress is not None:
            self.progress.count = lambda: trainer.global_step

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.progress is not None:
            limit = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
            epoch = f"epoch {trainer.current_epoch + 1}{limit}"
            self.progress.update(self.task, description=epoch, values=self.values(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(trainer, "test", "batches", sum(trainer.num_test_batches))

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.progress is not None:
            self.progress.advance(self.task)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.stop()
