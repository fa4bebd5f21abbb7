"""Trains a model, tests its best checkpoint, and writes the run's files."""

import copy
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from discrete_latents.atomic_write import synchronise_to_disk
from discrete_latents.callbacks import Checkpoints, Noise, Throughput
from discrete_latents.config.changes import Changes
from discrete_latents.config.printed_command import given_command
from discrete_latents.data import ImageData
from discrete_latents.errors import NotFinite, UserError, first_line, in_own_code
from discrete_latents.loggers import MetricsCSV, WandbRun
from discrete_latents.models import LatentModel
from discrete_latents.runs.checkpoints import best_of, load_weights
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.results import describe, write_results
from discrete_latents.runs.train_log import begin_record
from discrete_latents.secrecy import masked
from discrete_latents.training.build import build_data, build_model, build_trainer, convert_precision
from discrete_latents.training.compile_choice import CompileChoice
from discrete_latents.training.contention import warn_of_contention
from discrete_latents.training.early_stop import KeptStop
from discrete_latents.training.foreign import (
    count_parameters,
    description,
    has_fixed_weights,
    is_foreign,
    names_of,
    untested,
)
from discrete_latents.training.initial_weights import InitialWeights, load_initial_weights
from discrete_latents.training.lightning_settings import check_trainer
from discrete_latents.training.memory import IN_EVALUATION, memory_limit
from discrete_latents.training.monitors import check_monitors, with_own_monitor
from discrete_latents.training.new_run import own_checkpoints
from discrete_latents.training.nonfinite import FiniteCheck, divergence_report
from discrete_latents.training.optimized_metric import BestInValidation
from discrete_latents.training.outcome import TestedMetrics, end_of, results_stand
from discrete_latents.training.resumed_state import check_state
from discrete_latents.training.run_time import RunTime
from discrete_latents.training.shutdown import heeds_sigterm, orderly_shutdown
from discrete_latents.training.validate import check_batches, check_settings

log = logging.getLogger(__name__)

Beginning = Callable[[pl.Trainer], AbstractContextManager[object]]


@heeds_sigterm
def train(
    config: DictConfig,
    names: Mapping[str, str],
    callbacks: Sequence[pl.Callback] = (),
    test: bool = True,
    changes: Changes | None = None,
    begins: Beginning = nullcontext,
) -> dict[str, Any]:
    """Trains, tests the best checkpoint, and writes results.json into `paths.output_dir`.

    names: the chosen `experiment` and `latent`. callbacks: in addition to the configuration's. test: False skips the
    test images, as `test` in the configuration does; the results then have no metrics. changes: of a run that is
    resumed, to be saved when it goes on.
    begins: called once all is checked; the run is trained and tested within it. Returns the results. Raises UserError
    for settings that cannot work, before training starts.
    """
    check_settings(config)
    run = RunDirectory(config.paths.output_dir, OmegaConf.select(config, "callbacks.checkpoint.dirpath"))
    with own_checkpoints(run, new=not config.resume):
        return train_in(run, config, names, callbacks, test, changes, begins)


def train_in(
    run: RunDirectory,
    config: DictConfig,
    names: Mapping[str, str],
    callbacks: Sequence[pl.Callback],
    test: bool,
    changes: Changes | None,
    begins: Beginning,
) -> dict[str, Any]:
    """As `train`, in a directory that this process alone writes into."""
    started = time.perf_counter()
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    resumed = RunDirectory(config.resume, run.checkpoints).last_checkpoint() if config.resume else None
    model = build_model(config, data, loaded=resumed is not None)
    config = with_own_monitor(config, model, data)
    trainer = build_trainer(config, use_distributed_sampler=not isinstance(data, ImageData))
    convert_precision(model, trainer)
    read = [resumed] if resumed else []
    if resumed and os.path.lexists(best := run.tested()):  # at the end, unless a better one is found
        read.append(best)
    if has_fixed_weights(model):
        for path, loaded in zip(read, (model, copy.deepcopy(model)), strict=False):
            load_weights(path, loaded)
    again = bool(config.resume) and resumed is None
    best_value, initial = BestInValidation(config.get("optimized_metric")), InitialWeights()
    trainer.callbacks[:0] = [best_value, initial]  # type: ignore[attr-defined]
    if not resumed:
        initial.record = load_initial_weights(config, model)
    clock, choice = RunTime(started), CompileChoice(config.compile)
    last = [FiniteCheck(), KeptStop(), clock, choice, *([Noise()] if is_foreign(model, data) else []), *callbacks]
    # Not earlier: only then is it sure that a run is resumed.
    last.append(LambdaCallback(on_train_start=lambda *_: begin_record(), on_test_start=lambda *_: begin_record()))
    if changes and changes.changed:
        step = best_of(resumed).step if resumed else 0
        last.append(LambdaCallback(on_fit_start=lambda *_: rank_zero_only(changes.write)(step)))
    check_trainer(config, trainer, model)
    check_batches(trainer, data)
    check_monitors(trainer, model, data)
    for path in read:
        check_state(path, trainer, model)
    parameters = count_parameters(model)  # FSDP shares them out over processes
    names = names_of(config, names)
    tested, why = test and config.get("test", True), untested(model, data)
    run.folder.mkdir(parents=True, exist_ok=True)
    reached: dict[str, Any] = {}
    results: dict[str, Any] = {}

    def finish(metrics: Mapping[str, float]) -> None:
        measured = {
            "seconds": round(clock.seconds, 3),
            "total_seconds": round(clock.total, 3),
            "parameters": parameters,
            "compiled": choice.compiled,
            **end_of(metrics),
        }
        described = describe(names, config.seed, description(data), config.eval_samples) | {
            "command": given_command(),
            "learning_rate": learning_rate(trainer, model),
        }
        made = described | {"metrics": dict(metrics)} | reached | {"tested": metrics_of_test.state} | measured
        made |= {"optimized": best_value.value(metrics)}
        further = {"weights": initial.record, "tags": list(config.get("tags") or ())}
        made |= {name: value for name, value in further.items() if value}
        write_results(run, made)
        if made["status"] == "completed":
            results.update(made)

    metrics_of_test = TestedMetrics(finish)
    trainer.callbacks[:] = [metrics_of_test, *trainer.callbacks, *last]  # type: ignore[attr-defined]
    with begins(trainer), results_stand(run, results), orderly_shutdown(trainer):
        if again:
            begin_again(run)
        start_logging(trainer, config, names, again)
        try:
            if config.get("train", True):
                warn_of_contention(trainer)
                with memory_limit("data.batch_size in training", "data.eval_batch_size in validation"):
                    fit(trainer, model, data, resumed, choice)
            elif not initial.record:
                rank_zero_only(log.warning)("train = false and no weights: the model is tested as it was made")
        finally:
            synchronise_checkpoints(run)
        best = best_checkpoint(trainer, run)
        saved = best or final_checkpoint(trainer, run)
        reached |= {"epochs": trainer.current_epoch, "steps": trainer.global_step, "checkpoint": run.name_of(saved)}
        reached["train_images_per_second"] = round(images_per_second(trainer), 1)
        if tested and why:
            log.warning("not tested: %s", why)
        if tested and not why:
            with memory_limit(*IN_EVALUATION):
                trainer.test(model, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)
        else:
            finish({})
    return results


def best_checkpoint(trainer: pl.Trainer, run: RunDirectory) -> Path | None:
    """What Lightning says is the best; None where nothing was validated or kept, and the final weights are tested."""
    saving = [callback for callback in trainer.callbacks if isinstance(callback, Checkpoints)]  # type: ignore[attr-defined]
    named = [Path(callback.best_model_path) for callback in saving if callback.best_model_path]
    best = [*named, run.best][0]
    if named and not best.is_file():
        log.warning("%s, the best checkpoint, is gone: the final weights are tested", best)
    return best if best.is_file() else None


def final_checkpoint(trainer: pl.Trainer, run: RunDirectory) -> Path | None:
    """The checkpoint of the final weights, if there is one."""
    return run.last if run.last.is_file() and best_of(run.last).step == trainer.global_step else None


@rank_zero_only
def begin_again(run: RunDirectory) -> None:
    """Deletes the best checkpoints of a run that was stopped before its first last.ckpt, and says so."""
    print(f"{run} was stopped before its first checkpoint: it starts again", file=sys.stderr)
    for path in run.checkpoints.glob("*.ckpt"):
        path.unlink()


def start_logging(trainer: pl.Trainer, config: DictConfig, names: Mapping[str, str], again: bool) -> None:
    """Gives the loggers the configuration. again: all logged rows are of steps that will be repeated."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbRun):
            logger.describe(names, config.seed)
        if not isinstance(logger, MetricsCSV) and trainer.enable_autolog_hparams:  # type: ignore[attr-defined]
            settings: Any = OmegaConf.to_container(config, resolve=True)
            logger.log_hyperparams(
                masked(settings) | {"experiment": names["experiment"], "latent_name": names["latent"]}
            )
        elif again and isinstance(logger, MetricsCSV):
            logger.continue_after(0)


def fit(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    data: pl.LightningDataModule,
    resumed: Path | None,
    choice: CompileChoice,
) -> None:
    """Trains. Raises UserError where numbers stop being finite, or the trainer or the compiler refuses the model."""
    try:
        trainer.fit(model, datamodule=data, ckpt_path=resumed, weights_only=True)
    except NotFinite as error:
        raise UserError(divergence_report(model, error)) from error
    except MisconfigurationException as error:
        where = "callbacks" if "monitored key" in str(error) else "trainer"
        raise UserError(f"{where}: {first_line(error)}") from error
    except ModuleNotFoundError as error:
        if in_own_code(error):
            raise
        raise UserError(f"callbacks or loggers: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        if "Early stopping conditioned on metric" in str(error):
            raise UserError(f"callbacks: {first_line(error)}") from error
        if not (choice.demanded and type(error).__module__.startswith("torch._")):
            raise
        assert isinstance(model, LatentModel)
        kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
        raise UserError(f"compile = true: {kind} cannot be compiled here: {first_line(error)}") from error


@rank_zero_only
def synchronise_checkpoints(run: RunDirectory) -> None:
    """Waits until the checkpoints are on the disk, so that a power cut after training does not take them."""
    written = [path for path in sorted(run.checkpoints.glob("*.ckpt")) if path.is_file()]
    for path in (*written, *([run.checkpoints] if written else [])):
        synchronise_to_disk(path)


def learning_rate(trainer: pl.Trainer, model: pl.LightningModule) -> float | None:
    """The rate that was set: that of the schedule's height, or the first of a module's own optimiser."""
    if isinstance(model, LatentModel):
        return model.optimization.lr
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return next((float(group.get("initial_lr", group["lr"])) for group in groups), None)


def images_per_second(trainer: pl.Trainer) -> float:
    """Of training steps alone; 0 without the callback that measures it."""
    measured = [callback for callback in trainer.callbacks if isinstance(callback, Throughput)]  # type: ignore[attr-defined]
    return measured[0].images_per_second if measured else 0.0
