"""Checkpoints of a run: of states from which it goes on exactly, whole or not at all, wherever its folder is."""

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents.atomic_write import atomic_write
from discrete_latents.callbacks.stop_signals import StopSignals
from discrete_latents.checks import whole
from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import (
    BestCheckpoint,
    gradients_are_kept,
    is_last_batch,
    log_epoch,
    optimizer_steps_now,
    set_received_sigterm,
    validation_follows,
)
from discrete_latents.loggers.metrics_csv import MetricsCSV


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically. Raises UserError if the disk refuses.

    (Lightning's own are written into the system's temporary folder; from another disk a rename is a copy, and a kill
    leaves half of it.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            atomic_write(Path(path), content.getbuffer())  # synchronised when training ends: it takes 6 ms
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error


class Checkpoints(BestCheckpoint):
    """best.ckpt by validation, as Lightning's, and last.ckpt, from which a run goes on as if it had never stopped: at
    the end of every epoch, every `every_n_steps` optimiser steps where that is given, and where max_steps or one of
    `StopSignals` stops training.
    A checkpoint is written once what was logged before it stands in metrics.csv, and says how many rows those are.

    A run that was moved keeps its best: paths are those of the folder that it is in now, where Lightning forgets the
    best score and lets the next validation replace a better checkpoint. Raises ValueError for every_n_steps below 1.
    """

    def __init__(self, every_n_steps: int | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.every_n_steps = None if every_n_steps is None else whole("every_n_steps", every_n_steps)
        self.signals = StopSignals()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        trainer.strategy.checkpoint_io = WholeFiles()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.signals.take_over(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        if not optimizer_steps_now(trainer):  # gradients that are kept for a later step are in no checkpoint
            return
        stop = self.signals.asked and trainer.world_size == 1
        save = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        save |= trainer.global_step == trainer.max_steps  # which may be raised
        if not (stop or save):
            return
        # Lightning, restarted between a batch and the validation or the end of an epoch after it, leaves those out.
        between = not (is_last_batch(trainer) or validation_follows(trainer))
        if save and between:
            self.write_last(trainer)
        if stop:
            set_received_sigterm(trainer, between)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self.fitting(trainer) and not is_last_batch(trainer) and not gradients_are_kept(trainer):
            self.write_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        log_epoch(trainer)  # or a run that goes on from here would never log this epoch
        super().on_train_epoch_end(trainer, pl_module)
        if is_last_batch(trainer) or not (self.is_saved(trainer) or gradients_are_kept(trainer)):
            self.write_last(trainer)  # and not where max_steps came first: from here Lightning would begin the next
        set_received_sigterm(trainer, self.signals.asked_anywhere(trainer))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, SIGTERMException) or not self.fitting(trainer):
            return  # SIGTERM is heeded between two batches, any other exception is raised in the middle of something
        if not (self.is_saved(trainer) or gradients_are_kept(trainer)):
            self.write_last(trainer)
        self.signals.requeue(trainer)

    def fitting(self, trainer: pl.Trainer) -> bool:
        return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                checkpoint["metrics_rows"] = logger.count()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV) and self.fitting(trainer) and "metrics_rows" in checkpoint:
                logger.continue_after(checkpoint["metrics_rows"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best, "dirpath": self.dirpath})
