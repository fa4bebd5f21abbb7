"""From a configuration to a trained and tested model, and the files that a run leaves.

The only module that calls Hydra's `instantiate`.
"""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.callbacks import Throughput
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError
from discrete_latents.latent.checks import whole
from discrete_latents.metrics_csv import MetricsCSV
from discrete_latents.models import LatentModel

log = logging.getLogger(__name__)


def make(config: DictConfig, key: str, **arguments: Any) -> Any:
    """The object that a group of the configuration describes.

    Raises UserError, naming the setting, where the object refuses its settings.
    """
    try:
        return instantiate(config[key], **arguments)
    except (InstantiationException, OmegaConfBaseException) as error:
        where = re.search(r"full_key: ([\w.]+)", str(error))
        # The estimator's temperature is the group `temperature`, by interpolation.
        setting = (where[1] if where else key).replace("latent.temperature", "temperature")
        message = str(error.__cause__ or error).splitlines()[0]
        names_setting = message.split()[0] in (OmegaConf.select(config, setting) or {})
        raise UserError(f"{setting}{'.' if names_setting else ': '}{message}") from error


def build_data(config: DictConfig) -> ImageData:
    data: ImageData = make(config, "data")
    try:
        data.setup()
    except (OSError, ValueError) as error:
        raise UserError(f"data.name = {data.name}: {error}") from error
    return data


def make_model(config: DictConfig, image_shape: Sequence[int]) -> LatentModel:
    return make(
        config,
        "model",
        image_shape=image_shape,
        estimator=make(config, "latent"),
        optimization=make(config, "optimizer"),
    )


def build_model(config: DictConfig, data: ImageData) -> LatentModel:
    """The model, at the data's base rate, after a rehearsal on two images: what cannot run (shapes, an
    enumeration too large) is said before training starts."""
    model = make_model(config, data.image_shape)
    model.set_base_rate(data.mean_image)
    with model.evaluation_noise(), torch.no_grad():
        try:
            model.training_loss(next(iter(data.batches("train", 2, shuffled=True))))
        except (ValueError, RuntimeError, IndexError) as error:
            raise UserError(f"{type(model).__name__} with {type(model.estimator).__name__}: {error}") from error
    if config.compile:
        model.compile_networks()
    return model


def build_trainer(config: DictConfig) -> pl.Trainer:
    callbacks = list(make(config, "callbacks").values())
    loggers = list(make(config, "logger").values()) if config.logger else []
    return make(config, "trainer", callbacks=callbacks, logger=loggers, _convert_="all")


def check(config: DictConfig) -> None:
    """Raises UserError for settings that nothing else checks in time."""
    try:
        whole("eval_samples", config.eval_samples)
    except ValueError as error:
        raise UserError(str(error)) from error
    if not isinstance(config.seed, int) or config.seed < 0:
        raise UserError(f"seed must be a whole number of at least 0, got {config.seed!r}")
    for name in ("max_epochs", "max_steps"):
        value = config.trainer.get(name, -1)
        if not isinstance(value, int) or value < -1:
            raise UserError(f"trainer.{name} must be a whole number, -1 for no limit, got {value!r}")


def train(config: DictConfig, names: Mapping[str, str]) -> dict[str, Any]:
    """Trains, tests the best checkpoint, and writes results.json into `paths.output_dir`.

    names: the chosen `experiment` and `latent`, by name. Returns the results. Raises UserError for settings that
    cannot work, before training starts.
    """
    started = time.perf_counter()
    check(config)
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data)
    trainer = build_trainer(config)
    for logger in trainer.loggers:
        if not isinstance(logger, MetricsCSV):
            logger.log_hyperparams(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
    try:
        resumed = checkpoint(Path(config.resume), "last") if config.resume else None
        trainer.fit(model, datamodule=data, ckpt_path=resumed, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        steps, epochs = trainer.global_step, trainer.current_epoch
        best = best_checkpoint(trainer)
        metrics = trainer.test(model, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)[0]
    finally:
        close(trainer)
    results = describe(config, names, data) | {
        "metrics": metrics,
        "epochs": epochs,
        "steps": steps,
        "seconds": round(time.perf_counter() - started, 3),
        "train_images_per_second": round(images_per_second(trainer), 1),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "status": "completed",
    }
    write_json(Path(config.paths.output_dir) / "results.json", results)
    return results


def evaluate(config: DictConfig, run: Path, ckpt: str, split: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, rebuilt from the run's saved configuration, and writes results.json and
    pictures into `paths.output_dir`. Raises UserError for a checkpoint that is missing or another model's."""
    check(config)
    path = checkpoint(run, ckpt)
    if split not in ("val", "test"):
        raise UserError(f"split must be val or test, got {split!r}")
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data)
    trainer = build_trainer(config)
    try:
        data.test_split = split
        tested = trainer.test(model, datamodule=data, ckpt_path=path, weights_only=True, verbose=False)[0]
    except RuntimeError as error:
        if "state_dict" not in str(error):
            raise
        raise UserError(f"{path} is a checkpoint of another model or architecture: {error}") from error
    finally:
        close(trainer)
    metrics = {name.replace("test/", f"{split}/"): value for name, value in tested.items()}
    results = describe(config, names, data) | {"checkpoint": str(path), "metrics": metrics, "status": "completed"}
    write_json(Path(config.paths.output_dir) / "results.json", results)
    return results


def checkpoint(run: Path, which: str) -> Path:
    """A run's checkpoint, "best" or "last". Raises UserError where it is not there."""
    if which not in ("best", "last"):
        raise UserError(f"ckpt must be best or last, got {which!r}")
    path = run / "checkpoints" / f"{which}.ckpt"
    if not path.is_file():
        raise UserError(f"{run} has no checkpoint {path.name} in {path.parent}")
    return path


def best_checkpoint(trainer: pl.Trainer) -> str | None:
    """The path of the best checkpoint; None, the weights as they are, where none was written."""
    callback = trainer.checkpoint_callback
    return (callback.best_model_path or None) if isinstance(callback, ModelCheckpoint) else None


def images_per_second(trainer: pl.Trainer) -> float:
    """The speed of training; 0 where nothing measured it."""
    measured = [callback for callback in trainer.callbacks if isinstance(callback, Throughput)]  # type: ignore[attr-defined]
    return measured[0].images_per_second if measured else 0.0


def close(trainer: pl.Trainer) -> None:
    """Ends every logger's run, so that the next job of a sweep starts its own."""
    for logger in trainer.loggers:
        logger.finalize("success" if sys.exc_info()[0] is None else "failed")
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish()


def describe(config: DictConfig, names: Mapping[str, str], data: ImageData) -> dict[str, Any]:
    """What a result was obtained with."""
    return {
        "experiment": names["experiment"],
        "seed": config.seed,
        "latent": names["latent"],
        "data": {"name": data.name, "binarization": data.binarization},
        "eval_samples": config.eval_samples,
        "versions": versions(),
        "git": git_commit(),
    }


def versions() -> dict[str, str]:
    packages = ("discrete-latents", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in packages}


def git_commit() -> str | None:
    """The commit of the source that runs, with + where it was changed; None outside a repository."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


@rank_zero_only
def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes all or nothing: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)
