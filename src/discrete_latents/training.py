"""From a configuration to a trained and tested model, and the files that a run leaves."""

import copy
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf

from discrete_latents.building import (
    build_data,
    build_model,
    build_trainer,
    check,
    check_batches,
    warn_of_unused,
    without_unused_temperature,
)
from discrete_latents.callbacks import Throughput
from discrete_latents.command_line import quoted
from discrete_latents.dashboards import close
from discrete_latents.data import ImageData
from discrete_latents.distributed import finish
from discrete_latents.errors import UserError
from discrete_latents.making import first_line
from discrete_latents.metrics_csv import MetricsCSV
from discrete_latents.models import LatentModel
from discrete_latents.restoring import check_optimizer, checkpoint, last_checkpoint, load_weights
from discrete_latents.results import describe, write_json


def train(
    config: DictConfig, names: Mapping[str, str], callbacks: Sequence[pl.Callback] = (), test: bool = True
) -> dict[str, Any]:
    """Trains, tests the best checkpoint, and writes results.json into `paths.output_dir`.

    names: the chosen `experiment` and `latent`, by name. callbacks: more than those of the configuration. test: false
    leaves the test images alone, and the results without metrics. Returns the results. Raises UserError for settings
    that cannot work, before training starts.
    """
    started = time.perf_counter()
    check(config)
    given, config = config, without_unused_temperature(config)
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data)
    output = Path(config.paths.output_dir)
    checkpoints = Path(OmegaConf.select(config, "callbacks.checkpoint.dirpath") or output / "checkpoints")
    best = checkpoints / "best.ckpt"
    if not config.resume and checkpoints != output / "checkpoints" and any(checkpoints.glob("*.ckpt")):
        raise UserError(f"callbacks.checkpoint.dirpath = {checkpoints} holds checkpoints already; name another folder")
    resumed = last_checkpoint(Path(config.resume), checkpoints) if config.resume else None
    if resumed:
        load_weights(resumed, model)
        check_optimizer(resumed, model)
        if best.is_file():  # which is tested in the end
            load_weights(best, copy.deepcopy(model))
    trainer = build_trainer(config)
    check_batches(trainer, data)
    warn_of_unused(given, config)
    trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)  # before any are shared out
    output.mkdir(parents=True, exist_ok=True)
    with ending(trainer):
        start_logging(trainer, config, names, again=bool(config.resume) and resumed is None)
        fit(trainer, model, data, resumed)
        steps, epochs = trainer.global_step, trainer.current_epoch
        metrics: Mapping[str, float] = {}
        if test:
            chosen = best if best.is_file() else None  # the weights as they are, where no validation chose any
            metrics = trainer.test(model, datamodule=data, ckpt_path=chosen, weights_only=True, verbose=False)[0]
    results = describe(config, names, data) | {
        "metrics": metrics,
        "epochs": epochs,
        "steps": steps,
        "seconds": round(time.perf_counter() - started, 3),
        "train_images_per_second": round(images_per_second(trainer), 1),
        "parameters": parameters,
        "status": "completed",
    }
    write_json(output / "results.json", results)
    return results


def start_logging(trainer: pl.Trainer, config: DictConfig, names: Mapping[str, str], again: bool) -> None:
    """Gives the loggers the configuration. again: of a run that was stopped before its first checkpoint, whose rows
    are of steps that are done again."""
    if again:
        said = f"{config.resume} was stopped before its first checkpoint: it starts again"
        rank_zero_only(print)(said, file=sys.stderr)
    for logger in trainer.loggers:
        if not isinstance(logger, MetricsCSV):
            settings: Any = OmegaConf.to_container(config, resolve=True)
            logger.log_hyperparams(settings | {"experiment": names["experiment"], "latent_name": names["latent"]})
        elif again:
            logger.continue_after(0)


def fit(trainer: pl.Trainer, model: LatentModel, data: ImageData, resumed: Path | None) -> None:
    try:
        trainer.fit(model, datamodule=data, ckpt_path=resumed, weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"trainer: {first_line(error)}") from error
    except RuntimeError as error:
        if not (model.compiled and type(error).__module__.startswith("torch._")):
            raise
        kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
        raise UserError(f"compile = true: {kind} cannot be compiled here: {first_line(error)}") from error


@contextmanager
def ending(trainer: pl.Trainer) -> Iterator[None]:
    """Ends the trainer's other processes and the loggers' runs, whatever happened. Raises KeyboardInterrupt where
    Lightning makes Ctrl-C an exit like any other, and gives SIGTERM its exit code and a line."""
    failed = True
    try:
        yield
        failed = False
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        if isinstance(stop, SIGTERMException):
            saved = (Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt").is_file()
            how = f"; to go on: python train.py resume={quoted(trainer.default_root_dir)}" if saved else ""
            rank_zero_only(print)(f"stopped by SIGTERM after step {trainer.global_step}{how}", file=sys.stderr)
            raise SIGTERMException(128 + signal.SIGTERM) from stop
        raise
    finally:
        finish(trainer, failed)
        close(trainer.loggers, failed)


def evaluate(config: DictConfig, run: Path, ckpt: str, split: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, rebuilt from the run's saved configuration, and writes results.json and
    pictures into `paths.output_dir`. Raises UserError for a checkpoint that is missing or another model's."""
    check(config)
    config = without_unused_temperature(config)
    path = checkpoint(run, ckpt)
    if split not in ("val", "test"):
        raise UserError(f"split must be val or test, got {split!r}")
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data)
    load_weights(path, model)
    trainer = build_trainer(config, checkpoints=False)
    check_batches(trainer, data)
    data.test_split = split
    with ending(trainer):
        tested = trainer.test(model, datamodule=data, verbose=False)[0]
    metrics = {name.replace("test/", f"{split}/"): value for name, value in tested.items()}
    results = describe(config, names, data) | {"checkpoint": str(path), "metrics": metrics, "status": "completed"}
    write_json(Path(config.paths.output_dir) / "results.json", results)
    return results


def images_per_second(trainer: pl.Trainer) -> float:
    """The speed of training; 0 where nothing measured it."""
    measured = [callback for callback in trainer.callbacks if isinstance(callback, Throughput)]  # type: ignore[attr-defined]
    return measured[0].images_per_second if measured else 0.0
