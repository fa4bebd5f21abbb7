"""One progress bar for all of training."""

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


class RunProgress(ProgressBar):
    """Epochs, optimiser steps, elapsed and remaining time, and the last logged values; then a bar for testing.

    Drawn by rich on stderr, `refresh_rate` times a second, in a thread of its own.
    """

    def __init__(self, refresh_rate: float = 4.0) -> None:
        super().__init__()
        self.refresh_rate = refresh_rate
        self.enabled = True
        self.progress: Progress | None = None

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def start(self, trainer: pl.Trainer, what: str, total: float, completed: int = 0) -> None:
        self.stop()
        if not (self.enabled and trainer.is_global_zero):
            return
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            refresh_per_second=self.refresh_rate,
            console=console(stderr=True),
        )
        self.progress.start()
        self.task = self.progress.add_task(
            what, total=None if total == float("inf") else total, completed=completed, values=""
        )

    def stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(trainer, "train", trainer.estimated_stepping_batches, trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.progress is not None:
            self.progress.update(self.task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.progress is not None:
            shown = {name.split("/")[-1]: value for name, value in trainer.progress_bar_metrics.items()}
            values = "  ".join(f"{name} {float(value):.2f}" for name, value in shown.items())  # type: ignore[arg-type]
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.progress.update(self.task, description=epoch, values=values)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(trainer, "test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.progress is not None:
            self.progress.advance(self.task)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.stop()
