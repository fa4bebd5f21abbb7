"""From a configuration to a trained and tested model, and the files that a run leaves."""

import copy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from discrete_latents.callbacks import Throughput
from discrete_latents.data import ImageData
from discrete_latents.errors import NotFinite, UserError, first_line
from discrete_latents.loggers import MetricsCSV
from discrete_latents.models import LatentModel
from discrete_latents.runs.checkpoints import check_optimizer, last_checkpoint, load_weights
from discrete_latents.runs.results import describe, write_json
from discrete_latents.training.build import (
    build_data,
    build_model,
    build_trainer,
)
from discrete_latents.training.nonfinite import FiniteCheck, account
from discrete_latents.training.shutdown import ending
from discrete_latents.training.validate import check, check_batches


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
    trainer.callbacks.extend([FiniteCheck(), *callbacks])  # type: ignore[attr-defined]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)  # before any are shared out
    output.mkdir(parents=True, exist_ok=True)
    with ending(trainer):
        start_logging(trainer, config, names, again=bool(config.resume) and resumed is None)
        model.take_steps(config.steps_per_loop, trainer)
        fit(trainer, model, data, resumed)
        steps, epochs = trainer.global_step, trainer.current_epoch
        metrics: Mapping[str, float] = {}
        if test:
            chosen = best if best.is_file() else None  # the weights as they are, where no validation chose any
            metrics = trainer.test(model, datamodule=data, ckpt_path=chosen, weights_only=True, verbose=False)[0]
    results = describe(config, names, data.description) | {
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
    except NotFinite as error:
        raise UserError(account(model, error)) from error
    except MisconfigurationException as error:
        raise UserError(f"trainer: {first_line(error)}") from error
    except RuntimeError as error:
        if not (model.compiled and type(error).__module__.startswith("torch._")):
            raise
        kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
        raise UserError(f"compile = true: {kind} cannot be compiled here: {first_line(error)}") from error


def images_per_second(trainer: pl.Trainer) -> float:
    """The speed of training; 0 where nothing measured it."""
    measured = [callback for callback in trainer.callbacks if isinstance(callback, Throughput)]  # type: ignore[attr-defined]
    return measured[0].images_per_second if measured else 0.0
