"""Checkpoints of a run: of states from which it goes on exactly, whole or not at all, wherever its folder is."""

import io
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.trainer.connectors.signal_connector import _HandlersCompose
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from discrete_latents.atomic_write import atomic_write
from discrete_latents.checks import whole
from discrete_latents.errors import UserError
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


class Checkpoints(ModelCheckpoint):
    """best.ckpt by validation, as Lightning's, and last.ckpt, from which a run goes on as if it had never stopped: at
    the end of every epoch, every `every_n_steps` optimiser steps where that is given, and where max_steps or SIGTERM
    stops training.
    A checkpoint is written once what was logged before it stands in metrics.csv, and says how many rows those are.

    A run that was moved keeps its best: paths are those of the folder that it is in now, where Lightning forgets the
    best score and lets the next validation replace a better checkpoint. Raises ValueError for every_n_steps below 1.
    """

    def __init__(self, every_n_steps: int | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.every_n_steps = None if every_n_steps is None else whole("every_n_steps", every_n_steps)
        self.asked_to_stop = self.asked_for_another_turn = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        trainer.strategy.checkpoint_io = WholeFiles()

    def _save_last_checkpoint(self, trainer: pl.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """Nothing: Lightning writes it beside a new best alone, `write_last` does where a run goes on exactly."""

    def write_last(self, trainer: pl.Trainer) -> None:
        if self.save_last:
            super()._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes over the signals that Lightning heeds: its own handlers talk to other processes, and save for SLURM, in
        the middle of whatever is done, which hangs, or saves half a step."""
        super().on_train_start(trainer, pl_module)
        environment = trainer._accelerator_connector.cluster_environment
        handlers = {signal.SIGTERM: self.stop}
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue and environment.requeue_signal:
            handlers[environment.requeue_signal] = self.stop_for_another_turn
        for number, handler in handlers.items():
            if isinstance(signal.getsignal(number), _HandlersCompose):  # and not somebody else's
                signal.signal(number, handler)
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: self.stop_together(trainer)

    def stop(self, *_: Any) -> None:
        self.asked_to_stop = True

    def stop_for_another_turn(self, *_: Any) -> None:
        self.asked_to_stop = self.asked_for_another_turn = True

    def stop_together(self, trainer: pl.Trainer) -> None:
        """Called by all processes before a turn of Lightning's loop."""
        if trainer.strategy.reduce_boolean_decision(self.asked_to_stop, all=False):
            raise SIGTERMException

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        stop = self.asked_to_stop and trainer.world_size == 1
        save = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        save |= trainer.global_step == trainer.max_steps  # which may be raised
        if not (stop or save):
            return
        loop = trainer.fit_loop.epoch_loop
        # Lightning, restarted between a batch and the validation or the end of an epoch after it, leaves those out.
        between = not (loop.batch_progress.is_last_batch or loop._should_check_val_fx(trainer.fit_loop._data_fetcher))  # type: ignore[arg-type]
        if save and between:
            self.write_last(trainer)
        if stop:
            trainer._signal_connector.received_sigterm = between

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self.fitting(trainer) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self.write_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning logs an epoch after this, and a run that goes on from here would not log it again.
        loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
        connector.on_epoch_end()
        loop._batches_that_stepped -= 1
        connector.update_train_epoch_metrics()
        loop._batches_that_stepped += 1
        super().on_train_epoch_end(trainer, pl_module)
        if loop.batch_progress.is_last_batch or self._last_global_step_saved != trainer.global_step:
            self.write_last(trainer)  # and not where max_steps came first: from here Lightning would begin the next
        stopping = trainer.strategy.reduce_boolean_decision(self.asked_to_stop, all=False)
        trainer._signal_connector.received_sigterm = stopping

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, SIGTERMException) or not self.fitting(trainer):
            return  # SIGTERM is heeded between two batches, any other exception is raised in the middle of something
        if self._last_global_step_saved != trainer.global_step:
            self.write_last(trainer)
        if self.asked_for_another_turn and trainer.is_global_zero:
            array = os.environ.get("SLURM_ARRAY_JOB_ID")
            job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
            subprocess.run(["scontrol", "requeue", job])

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
