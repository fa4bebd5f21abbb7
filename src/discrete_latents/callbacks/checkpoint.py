"""Checkpoints of a run: of states from which it goes on exactly, whole or not at all, wherever its folder is."""

import io
import logging
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents.atomic_write import atomic_write
from discrete_latents.callbacks.stop_signals import StopSignals
from discrete_latents.checks import whole
from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import (
    BestCheckpoint,
    epoch_goes_on,
    gradients_are_kept,
    is_last_batch,
    log_epoch,
    optimizer_steps_now,
    restart_validation,
    set_received_sigterm,
    steady,
    training_ends,
    validation_follows,
)
from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.runs.checkpoints import read_checkpoint
from discrete_latents.runs.files import plain_name

log = logging.getLogger(__name__)


PLAIN = (torch.Tensor, torch.dtype, torch.device)
HYPERPARAMETERS = {"hyper_parameters", "datamodule_hyper_parameters"}
"""What `save_hyperparameters` of a module or a data module puts into a checkpoint."""
MADE_HERE = {"state_dict", "optimizer_states", "loops", "MixedPrecision"}
"""Parts of a checkpoint that torch and Lightning make: tensors and plain values, many of them."""


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically. Raises UserError if the disk refuses, or the run was moved away.

    (Lightning's own are written into the system's temporary folder; from another disk a rename is a copy, and a kill
    leaves half of it.)
    """

    def __init__(self, run: str | Path = ".") -> None:
        self.run = Path(run)
        self.left_out: set[str] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if not self.run.is_dir():
            raise UserError(f"{self.run} is gone: it was moved or deleted while the run trained")
        content = io.BytesIO()
        torch.save(self.readable(checkpoint), content)
        try:
            atomic_write(Path(path), content.getbuffer())  # synchronised when training ends: it takes 6 ms
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error

    def readable(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """The checkpoint, of whose hyperparameters only those stay that can be read without executing anything: the
        configuration of the run has them all. Raises UserError for other things that nothing could read."""
        kept = dict(checkpoint)
        for name in HYPERPARAMETERS & kept.keys():
            kept[name] = {key: value for key, value in kept[name].items() if is_plain_value(value)}
            if left_out := checkpoint[name].keys() - kept[name].keys() - self.left_out:
                self.left_out |= left_out
                said = "checkpoints are without the hyperparameters that are no plain values: %s"
                rank_zero_only(log.info)(said, ", ".join(sorted(left_out)))
        wrong = [name for name in kept if name not in MADE_HERE and not is_plain_value(kept[name])]
        if wrong:
            raise UserError(
                f"a checkpoint must be tensors and plain values, such as numbers, text and lists of them; what "
                f"on_save_checkpoint or a state_dict of yours saves as {', '.join(wrong)} is not"
            )
        return kept

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Reads as everything that reads checkpoints does."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Deletes one file. (Lightning's own deletes a folder with all that it holds.)"""
        Path(path).unlink(missing_ok=True)


def is_plain_value(value: Any) -> bool:
    """Whether a value is made of tensors and plain values alone."""
    if isinstance(value, dict):
        return all(is_plain_value(inner) for pair in value.items() for inner in pair)
    if isinstance(value, list | tuple | set):
        return all(map(is_plain_value, value))
    return value is None or type(value) in (bool, int, float, complex, str, bytes) or isinstance(value, PLAIN)


WITHOUT_EFFECT = {
    "every_n_train_steps": "every_n_steps is the setting, for the last state; the best is chosen after validations",
    "train_time_interval": "every_n_steps is the setting, since no two runs reach a time at the same step",
    "save_on_exception": "an exception comes in the middle of a step, from where no run goes on exactly",
}
"""Of Lightning's ModelCheckpoint."""


class Checkpoints(BestCheckpoint):
    """The best checkpoints by validation, as Lightning's, and last.ckpt, from which a run goes on as if it had never
    stopped: at the end of every epoch, every `every_n_steps` optimiser steps where that is given, and where a limit,
    a callback or one of `StopSignals` stops training. Not in the middle of accumulated gradients.
    A checkpoint is written once what was logged before it stands in metrics.csv, and says how many rows those are.

    settings: of Lightning's ModelCheckpoint. filename: of the best, with {epoch}, {step} and logged metrics; a / in a
    metric's name becomes _, and where several are kept their names end in the step if they do not have it. Of a
    training whose best is saved each time, `best_model_path` is the one that is tested.

    A run that was moved keeps its best: paths are those of the folder that it is in now, where Lightning forgets the
    best score and lets the next validation replace a better checkpoint. Raises ValueError for settings that cannot
    work or would have no effect, and UserError where a resumed run is to choose its best by another rule.
    """

    def __init__(self, every_n_steps: int | None = None, **settings: Any) -> None:
        for name, why in WITHOUT_EFFECT.items():
            if settings.get(name):
                raise ValueError(f"{name} must be null, got {settings[name]!r}: {why}")
        if settings.get("save_last") not in (None, True, False):
            raise ValueError(f"save_last must be true or false, got {settings['save_last']!r}")
        if not settings.get("dirpath"):
            raise ValueError(f"dirpath must be a folder, got {settings.get('dirpath')!r}")
        super().__init__(**settings)
        self.every_n_steps = None if every_n_steps is None else whole("every_n_steps", every_n_steps)
        if self.save_last and self.save_weights_only:
            raise ValueError(
                "save_weights_only must be false where save_last is true: no run goes on from weights alone"
            )
        if self.every_n_steps is not None and not self.save_last:
            raise ValueError(f"every_n_steps must be null where save_last is false, got {every_n_steps}")
        self.filename = unique_name(self.filename, several=self.save_top_k not in (0, 1))
        try:
            self.format_checkpoint_name({})
        except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
            raise ValueError(f"filename must be a template of a name, got {self.filename!r}: {error}") from error
        self.signals = StopSignals()
        self.resumed_at: int | None = None

    def format_checkpoint_name(self, metrics: Any, *arguments: Any, **how: Any) -> str:
        path = Path(super().format_checkpoint_name(metrics, *arguments, **how))
        folder = Path(str(self.dirpath))
        return str(folder / str(path.relative_to(folder)).replace("/", "_"))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        trainer.strategy.checkpoint_io = WholeFiles(trainer.default_root_dir)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.signals.take_over(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self.signals.give_back()

    @steady
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        if not optimizer_steps_now(trainer):  # gradients that are kept for a later step are in no checkpoint
            return
        stop = self.signals.asked and trainer.world_size == 1
        save = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        save |= training_ends(trainer)  # by a limit that may be raised
        if not (stop or save):
            return
        # Lightning, restarted between a batch and the validation or the end of an epoch after it, leaves those out.
        between = not (is_last_batch(trainer) or validation_follows(trainer))
        if save and between:
            self.write_last(trainer)
        if stop:
            set_received_sigterm(trainer, between)

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        if self.signals.heeded:
            self.signals.begin_validation_batch(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        self.signals.at_once = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self.fitting(trainer) and not is_last_batch(trainer) and not gradients_are_kept(trainer):
            self.write_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        saved = self.is_saved(trainer) or trainer.global_step == self.resumed_at
        if not (is_last_batch(trainer) or saved):  # the epoch was cut, by what stops training
            with epoch_goes_on(trainer):
                self.write_last(trainer)
        log_epoch(trainer)  # or a run that goes on from here would never log this epoch
        super().on_train_epoch_end(trainer, pl_module)
        if is_last_batch(trainer):
            self.write_last(trainer)
        set_received_sigterm(trainer, self.signals.asked_anywhere(trainer))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not (isinstance(exception, SIGTERMException) and self.signals.heeded):
            return  # SIGTERM is heeded between two batches, any other exception is raised in the middle of something
        if not (self.is_saved(trainer) or gradients_are_kept(trainer)):
            if trainer.validating:
                restart_validation(trainer)
                self.signals.restore_noise()
            self.write_last(trainer)
        self.signals.requeue(trainer)

    def fitting(self, trainer: pl.Trainer) -> bool:
        return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["threads"] = torch.get_num_threads()
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                checkpoint["metrics_rows"] = logger.count()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self.fitting(trainer):
            return
        self.check_rule(checkpoint)
        self.resumed_at = checkpoint["global_step"]
        threads, former = torch.get_num_threads(), checkpoint.get("threads")
        if former not in (None, threads) and trainer.strategy.root_device.type == "cpu":
            rank_zero_only(log.warning)(
                "this run goes on with %d threads and was trained with %d, which add numbers in another order: for the "
                "same bits set OMP_NUM_THREADS=%d",
                *(threads, former, former),
            )
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV) and "metrics_rows" in checkpoint:
                logger.continue_after(checkpoint["metrics_rows"])

    def check_rule(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError where the run that is resumed chose its best by another metric or at other times, since a
        score of one rule says nothing under another."""
        kind = f"{type(self).__name__}{{"
        rules = [key for key in checkpoint["callbacks"] if key.startswith(kind)]
        if rules and self.state_key not in rules:
            raise UserError(
                "callbacks.checkpoint.monitor, mode and every_n_epochs must be those that the run was trained with, "
                f"{rules[0].removeprefix(type(self).__name__)}, got monitor = {self.monitor}, mode = {self.mode}, "
                f"every_n_epochs = {self.every_n_epochs}"
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What the files are called counts, and not where the checkpoint says that they are."""

        def here(path: str) -> str:
            name = plain_name(path, self.FILE_EXTENSION)
            return str(Path(str(self.dirpath)) / name) if name else ""

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items() if here(path)}
        replaced = [here(path) for path in state_dict.get("replaced", ()) if here(path)]
        changed = {"best_k_models": best, "dirpath": self.dirpath, "replaced": replaced}
        super().load_state_dict(state_dict | moved | changed)


def unique_name(name: str | None, several: bool) -> str | None:
    """A template for the names of checkpoints, with the step added where several are kept and it does not hold it.

    Raises ValueError for what names no file in the checkpoints' folder beside last.ckpt.

    >>> unique_name("best", several=True), unique_name("at-{step}-{val/nelbo:.2f}", several=True)
    ('best-{step}', 'at-{step}-{val/nelbo:.2f}')
    """
    if name is None:
        return None
    plain = re.sub(r"\{[^{}]*\}", "", name)
    if name == "last" or "/" in plain or "\\" in plain or name.startswith(".") or not name.strip():
        raise ValueError(f"filename must be the name of a file, without folders, and not the last one's, got {name!r}")
    return f"{name}-{{step}}" if several and not re.search(r"\{step[:}]", name) else name
