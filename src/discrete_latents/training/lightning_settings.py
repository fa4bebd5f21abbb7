"""What this package does with each argument of Lightning's Trainer and each of Lightning's callbacks.

Each is honoured, or refused before training in one line that says what to set instead: nothing is accepted and then
without effect. tests/training/test_lightning_settings.py holds both tables against the installed Lightning.
"""

import inspect
import os
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import lightning.pytorch.callbacks as lightning_callbacks
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy
from omegaconf import DictConfig, OmegaConf
from torch import nn

from discrete_latents.callbacks import Checkpoints, WeightAverage
from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import starts_by_forking

HONOURED = frozenset(
    (
        *("accelerator", "strategy", "devices", "num_nodes", "precision", "plugins", "sync_batchnorm"),
        *("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time"),
        *("limit_train_batches", "limit_val_batches", "limit_test_batches", "fast_dev_run"),
        *("val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps", "log_every_n_steps"),
        *("enable_progress_bar", "enable_model_summary", "enable_autolog_hparams"),
        *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
        *("deterministic", "benchmark", "inference_mode", "profiler", "detect_anomaly", "default_root_dir"),
    )
)
"""Arguments of `Trainer` that have the effect that Lightning documents, or are refused by value where they cannot."""

REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "logger": ((), "the group logger holds the loggers: logger=[csv,tensorboard]"),
    "callbacks": ((), "the group callbacks holds them: +callbacks.NAME._target_=…"),
    "enable_checkpointing": ((), "~callbacks.checkpoint leaves checkpoints out"),
    "overfit_batches": ((0, 0.0), "debug=overfit trains on the same three batches again and again"),
    "limit_predict_batches": ((None,), "a run makes no predictions"),
    "barebones": ((False,), "it would leave neither metrics nor checkpoints; steps_per_loop makes steps fast"),
    "model_registry": ((None,), "it is a service of Lightning's; logger.wandb.log_model=true uploads checkpoints"),
    "reload_dataloaders_every_n_epochs": ((0,), "images are in memory and reshuffled in every epoch"),
    "use_distributed_sampler": ((False,), "the data module gives each process its part"),
}
"""Arguments of `Trainer` that would have no effect, or not theirs: the values that are allowed, and what does it."""

HONOURED_CALLBACKS = frozenset(
    (
        *("Callback", "Checkpoint", "ModelCheckpoint", "OnExceptionCheckpoint", "DeviceStatsMonitor", "EarlyStopping"),
        *("LambdaCallback", "LearningRateMonitor", "ModelSummary", "RichModelSummary", "ProgressBar"),
        *("RichProgressBar", "TQDMProgressBar", "SpikeDetection", "ThroughputMonitor", "Timer"),
    )
)
"""Of Lightning's callbacks."""

REFUSED_CALLBACKS: Mapping[str, str] = {
    "BaseFinetuning": "it changes what the optimiser holds, and the learning rate here is one for all parameters",
    "BasePredictionWriter": "a run makes no predictions",
    "BatchSizeFinder": "its batch size would be in no saved configuration; data.batch_size is the setting",
    "GradientAccumulationScheduler": "trainer.accumulate_grad_batches is the setting, one for all epochs",
    "LearningRateFinder": "its rate would be in no saved configuration; python -m discrete_latents.search searches it",
    "ModelPruning": "the weights that it leaves are those of no validated checkpoint",
    "StochasticWeightAveraging": "its average is never validated; callbacks=swa is, and is what is tested",
    "WeightAveraging": "what it saves is not what a test after it measures; callbacks=ema is saved, tested and resumed",
}
"""Of Lightning's callbacks, with their subclasses: what they do that this package does not keep to."""


def check_trainer_settings(config: DictConfig) -> None:
    """Raises UserError for arguments of the Trainer that would have no effect, as settings or as variables
    PL_TRAINER_…, which Lightning reads."""
    arguments = inspect.signature(pl.Trainer).parameters
    for name in arguments:
        variable = f"PL_TRAINER_{name.upper()}"
        if variable in os.environ and name not in config.trainer:
            raise UserError(
                f"the variable {variable} must not be set, since no saved configuration has it; set trainer.{name}"
            )
    for name, (allowed, instead) in REFUSED.items():
        if name not in config.trainer:
            continue
        value = config.trainer[name]
        if not any(type(value) is type(other) and value == other for other in allowed):
            said = f"must be {' or '.join(map(as_yaml, allowed))}" if allowed else "is not a setting"
            raise UserError(f"trainer.{name} {said}, got {as_yaml(value)}: {instead}")
    clipped, algorithm = (config.trainer.get(f"gradient_clip_{part}") for part in ("val", "algorithm"))
    if algorithm is not None and clipped is None:
        raise UserError(f"trainer.gradient_clip_algorithm must be null where gradient_clip_val is, got {algorithm!r}")
    interval, root = config.trainer.get("val_check_interval"), config.trainer.get("default_root_dir")
    if isinstance(interval, str | DictConfig):
        raise UserError(
            f"trainer.val_check_interval must be a number of batches or a share of an epoch, got {as_yaml(interval)}: "
            "validations by time make no run that can be repeated"
        )
    if root != config.paths.output_dir:
        raise UserError(f"trainer.default_root_dir must be paths.output_dir = {config.paths.output_dir}, got {root}")


def as_yaml(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def check_callbacks(callbacks: Mapping[str, Callback]) -> None:
    """Raises UserError for callbacks that this package does not keep to, and a second one that writes last.ckpt."""
    for name, callback in callbacks.items():
        for kind, why in REFUSED_CALLBACKS.items():
            if isinstance(callback, getattr(lightning_callbacks, kind)) and not isinstance(callback, WeightAverage):
                raise UserError(f"callbacks.{name} must not be a {type(callback).__name__}: {why}")
    averaging = [name for name, callback in callbacks.items() if isinstance(callback, WeightAverage)]
    if len(averaging) > 1:
        raise UserError(
            f"callbacks.{averaging[1]} must not average the weights a second time, beside callbacks.{averaging[0]}"
        )
    saving = {name: callback for name, callback in callbacks.items() if isinstance(callback, ModelCheckpoint)}
    ours = [name for name, callback in saving.items() if isinstance(callback, Checkpoints)]
    if len(ours) > 1:
        raise UserError(f"callbacks.{ours[1]} must not be a second Checkpoints beside callbacks.{ours[0]}")
    for name, callback in saving.items():
        if name in ours:
            continue
        if not ours:
            raise UserError(
                f"callbacks.{name} must be a discrete_latents.callbacks.Checkpoints, got a "
                f"{type(callback).__name__}: no run goes on exactly from its files"
            )
        if callback.save_last or callback.dirpath in (None, saving[ours[0]].dirpath):
            raise UserError(
                f"callbacks.{name} must have a dirpath of its own and no save_last beside callbacks.{ours[0]}, got "
                f"dirpath = {callback.dirpath} and save_last = {as_yaml(callback.save_last)}"
            )


def check_trainer(config: DictConfig, trainer: pl.Trainer, model: nn.Module) -> None:
    """Raises UserError for what only a trainer that is built shows: how it starts processes, who writes checkpoints."""
    if starts_by_forking(trainer):
        raise UserError(
            "trainer.strategy must be one that starts processes by themselves, as ddp does: what training leaves in "
            "spawned or forked ones is lost"
        )
    if type(trainer.strategy.checkpoint_io) is not TorchCheckpointIO:
        kind = type(trainer.strategy.checkpoint_io).__name__
        raise UserError(f"trainer.plugins must have no {kind}: callbacks.checkpoint writes checkpoints, atomically")
    if isinstance(trainer.strategy, FSDPStrategy) and any(isinstance(one, WeightAverage) for one in trainer.callbacks):  # type: ignore[attr-defined]
        raise UserError(
            "callbacks: a WeightAverage needs all parameters in each process, which trainer=fsdp shares out"
        )
    normalised = any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) for module in model.modules())
    if config.trainer.get("sync_batchnorm") and not (normalised and trainer.world_size > 1):
        lacking = "one process" if normalised else "no batch normalisation in the model"
        raise UserError(f"trainer.sync_batchnorm must be false with {lacking}, got true")
    if not trainer.loggers and any(isinstance(one, LearningRateMonitor) for one in trainer.callbacks):  # type: ignore[attr-defined]
        raise UserError("callbacks: a LearningRateMonitor must have a logger: logger=[csv]")
