"""From a configuration to a trained and tested model, and the files that a run leaves.

The only module that calls Hydra's `instantiate`.
"""

import copy
import inspect
import logging
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.annotations import mistakes
from discrete_latents.callbacks import Throughput
from discrete_latents.command_line import quoted
from discrete_latents.dashboards import WandbRun, close
from discrete_latents.data import ImageData
from discrete_latents.distributed import finish
from discrete_latents.errors import UserError
from discrete_latents.latent import Temperature
from discrete_latents.latent.checks import positive, truth, whole
from discrete_latents.metrics_csv import MetricsCSV
from discrete_latents.models import LatentModel
from discrete_latents.results import describe, write_json

log = logging.getLogger(__name__)

T = TypeVar("T")

RESUMED = ("state_dict", "optimizer_states", "epoch", "global_step", "loops", "callbacks", "noise")
"""What a run goes on from."""


MISTAKES = (ValueError, TypeError, OSError, ImportError, MisconfigurationException, OmegaConfBaseException)
"""What a constructor raises for settings that it refuses; anything else is a bug and keeps its traceback."""


def make(config: DictConfig, key: str, **arguments: Any) -> Any:
    """The object that a group of the configuration describes.

    Raises UserError, naming the setting, where the object refuses its settings.
    """
    try:
        made = instantiate(config[key], **arguments)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        where = re.search(r"full_key: ([\w.]+)", str(error))
        message = locate(config, where[1] if where else key, first_line(cause))
        if isinstance(error, InstantiationException) and " must " not in message:
            check_types(config, key)  # which names the setting
        if not isinstance(cause, (*MISTAKES, InstantiationException)) and "allocate memory" not in message:
            raise cause from error
        raise UserError(message) from error
    check_types(config, key)
    return made


def check_types(config: DictConfig, key: str) -> None:
    """Raises UserError for a setting of a group that is not what the object it is given to says that it takes."""
    settings = OmegaConf.to_container(config[key], resolve=True)
    for mistake in mistakes(settings, key):
        raise UserError(at_its_place(config, mistake))


def at_its_place(config: DictConfig, name: str) -> str:
    """A dotted name, which a latent's temperature has in the group that it is chosen in."""
    latent = config.get("latent") or {}
    shared = "temperature" in latent and OmegaConf.is_interpolation(latent, "temperature")
    return name.replace("latent.temperature", "temperature") if shared else name


def locate(config: DictConfig, group: str, message: str) -> str:
    """A message that starts with the name of a setting, with the place of that setting in front."""
    node = OmegaConf.select(config, group) or {}
    name = message.split()[0]
    parent, _, last = f"{group}.{name}".rpartition(".")
    if re.fullmatch(r"[\w.]+", name) and last in (OmegaConf.select(config, parent) or ()):
        return at_its_place(config, f"{group}.{message}")
    nested = [child for child in node if isinstance(node, DictConfig) and isinstance(node[child], DictConfig)]
    for child in nested:
        if name in node[child]:
            return f"{group}.{child}.{message}"
    return f"{group}: {message}"


def build_data(config: DictConfig) -> ImageData:
    data: ImageData = make(config, "data")
    try:
        data.setup()
    except (OSError, ValueError) as error:
        message = locate(config, "data", first_line(error))
        raise UserError(message.replace("data: ", f"data.name = {data.name}: ", 1)) from error
    return data


def make_model(config: DictConfig, image_shape: Sequence[int]) -> LatentModel:
    return make(
        config,
        "model",
        image_shape=image_shape,
        estimator=make(config, "latent"),
        optimization=make(config, "optimizer"),
    )


def without_unused_temperature(config: DictConfig) -> DictConfig:
    """The configuration without the settings that belong to another kind of temperature: an experiment gives the
    rate of its own schedule, and `temperature=constant` has none."""
    if "_target_" not in config.temperature:
        return config
    try:
        taken = inspect.signature(resolve_name(config.temperature._target_)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):  # which making it is about to say
        return config
    others = {name for kind in Temperature.__subclasses__() for name in inspect.signature(kind).parameters}
    unused = sorted((others - set(taken)) & set(config.temperature))
    if unused:
        kept = {name: value for name, value in config.temperature.items() if name not in unused}
        config = copy.deepcopy(config)
        OmegaConf.set_struct(config, False)
        config.temperature = kept
    return config


def warn_of_unused(given: DictConfig, used: DictConfig) -> None:
    """Says which settings of the temperature its kind does not have."""
    unused = sorted(set(given.temperature) - set(used.temperature))
    if unused:
        log.warning("not used by %s: %s", used.temperature._target_.split(".")[-1], ", ".join(unused))


def build_model(config: DictConfig, data: ImageData) -> LatentModel:
    """The model, at the data's base rate, after a rehearsal on two images: what cannot run (shapes, an
    enumeration too large) is said before training starts."""
    model = make_model(config, data.image_shape)
    check_labels(model, data)
    model.set_base_rate(data.mean_image)
    with model.evaluation_noise(), torch.no_grad():
        try:
            model.training_loss(next(iter(data.batches("train", 2, shuffled=True))))
        except (ValueError, RuntimeError, IndexError) as error:
            kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
            raise UserError(f"{kind}: {first_line(error)}") from error
    try:
        model.optimization.optimizer(model.parameters())
    except (ValueError, TypeError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    model.compiled = config.compile
    if model.compiled and model.estimator.differentiates:
        log.warning("not compiled: %s differentiates within a step", type(model.estimator).__name__)
    return model


def check_labels(model: LatentModel, data: ImageData) -> None:
    """Raises UserError for labelled images that the model does not learn from, or not so many, or of other classes."""
    kind, used = type(model).__name__, getattr(model, "labelled_batch_size", None)
    if used is None and data.labelled is not None:
        raise UserError(f"data.labelled must be null for a {kind}, which learns from no labels, got {data.labelled}")
    if used not in (None, data.labelled_batch_size):
        raise UserError(
            f"model.labelled_batch_size must be data.labelled_batch_size = {data.labelled_batch_size}, got {used}"
        )
    classes = int(data.labels["train"].max()) + 1
    if used is not None and model.num_classes < classes:
        raise UserError(
            f"model.num_classes must be at least the {classes} of data.name = {data.name}, got {model.num_classes}"
        )


def check_batches(trainer: pl.Trainer, data: ImageData) -> None:
    """Raises UserError where what is to be trained or tested on leaves no batch."""
    limit, interval = trainer.limit_test_batches, trainer.val_check_interval
    if (limit * len(data.test_dataloader()) if isinstance(limit, float) else limit) < 1:
        raise UserError(f"trainer.limit_test_batches must leave a batch to test, got {limit}")
    count = len(data.train_dataloader())
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and not 1 <= interval <= count:
        raise UserError(f"trainer.val_check_interval must be from 1 to the {count} batches of an epoch, got {interval}")


def parts(config: DictConfig, key: str, kind: type[T]) -> Iterator[T]:
    """The objects that a group of the configuration describes by their names. Raises UserError for other things."""
    for name, made in make(config, key).items():
        if not isinstance(made, kind):
            raise UserError(
                f"{key}.{name} must be a {kind.__name__}, by its _target_, got {made!r}; ~{key}.{name} leaves it out"
            )
        yield made


def build_trainer(config: DictConfig, checkpoints: bool = True) -> pl.Trainer:
    callbacks = list(parts(config, "callbacks", pl.Callback))
    if not checkpoints:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ModelCheckpoint)]
    loggers = list(parts(config, "logger", Logger)) if config.get("logger") else []
    if not checkpoints:
        loggers = [logger for logger in loggers if not isinstance(logger, WandbRun)]  # it is training's
    return make(
        config, "trainer", callbacks=callbacks, logger=loggers, enable_checkpointing=checkpoints, _convert_="all"
    )


def check(config: DictConfig) -> None:
    """Raises UserError for settings that nothing else checks in time."""
    if isinstance(config.seed, bool) or not isinstance(config.seed, int) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed must be a whole number of at least 0 and below 2^32, got {config.seed!r}")
    lowest = {"max_epochs": -1, "max_steps": -1, "check_val_every_n_epoch": 1, "log_every_n_steps": 1}
    lowest |= {"accumulate_grad_batches": 1, "num_sanity_val_steps": -1}
    try:
        truth("compile", config.compile)
        if config.trainer.get("gradient_clip_val") is not None:
            positive("trainer.gradient_clip_val", config.trainer.gradient_clip_val)
        whole("eval_samples", config.eval_samples)
        whole("steps_per_loop", config.steps_per_loop)
        for name, least in lowest.items():
            whole(f"trainer.{name}", config.trainer.get(name, least), least)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_folder(config: DictConfig) -> None:
    """Raises UserError for an output folder that cannot be made."""
    try:
        Path(config.paths.output_dir).mkdir(parents=True, exist_ok=True)
    except (OSError, TypeError) as error:
        raise UserError(
            f"paths.output_dir must be a folder that can be written, got {config.paths.output_dir!r}: {error}"
        ) from error


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
    check_folder(config)
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data)
    resumed = checkpoint(Path(config.resume), "last") if config.resume else None
    if resumed:
        load_weights(resumed, model)
        check_optimizer(resumed, model)
        best = resumed.with_name("best.ckpt")
        if best.is_file():  # which is tested in the end
            load_weights(best, copy.deepcopy(model))
    trainer = build_trainer(config)
    check_batches(trainer, data)
    warn_of_unused(given, config)
    trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)  # before any are shared out
    with ending(trainer):
        for logger in trainer.loggers:
            if not isinstance(logger, MetricsCSV):
                settings: Any = OmegaConf.to_container(config, resolve=True)
                logger.log_hyperparams(settings | {"experiment": names["experiment"], "latent_name": names["latent"]})
        model.take_steps(config.steps_per_loop, trainer)
        fit(trainer, model, data, resumed)
        steps, epochs = trainer.global_step, trainer.current_epoch
        best = Path(config.paths.output_dir) / "checkpoints" / "best.ckpt"
        best = best if best.is_file() else None  # the weights as they are, where no validation chose any
        metrics: Mapping[str, float] = {}
        if test:
            metrics = trainer.test(model, datamodule=data, ckpt_path=best, weights_only=True, verbose=False)[0]
    results = describe(config, names, data) | {
        "metrics": metrics,
        "epochs": epochs,
        "steps": steps,
        "seconds": round(time.perf_counter() - started, 3),
        "train_images_per_second": round(images_per_second(trainer), 1),
        "parameters": parameters,
        "status": "completed",
    }
    write_json(Path(config.paths.output_dir) / "results.json", results)
    return results


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


def checkpoint(run: Path, which: str) -> Path:
    """A run's checkpoint, "best" or "last". Raises UserError where it is not there."""
    if which not in ("best", "last"):
        raise UserError(f"ckpt must be best or last, got {which!r}")
    path = run / "checkpoints" / f"{which}.ckpt"
    if not path.is_file():
        raise UserError(f"{run} has no checkpoint {path.name} in {path.parent}")
    return path


def read_checkpoint(path: Path, needed: Sequence[str] = ("state_dict",)) -> dict[str, Any]:
    """A checkpoint; nothing in it is executed. Raises UserError where the file is damaged, holds other things than
    tensors and plain values, or lacks what is needed of it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is then an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the reader raise
        if "Weights only load failed" in str(error):  # torch goes on to explain how to run it
            raise UserError(f"{path} is refused: it holds other things than tensors and plain values") from error
        raise UserError(f"{path} is not a checkpoint that can be read: {first_line(error)}") from error
    missing = [name for name in needed if not isinstance(content, dict) or name not in content]
    if missing:
        raise UserError(f"{path} is not a checkpoint of a run: it has no {', '.join(missing)}")
    return content


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint's weights. Raises UserError as `read_checkpoint`."""
    weights = read_checkpoint(path)["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{path} is not a checkpoint of a run: its state_dict must be tensors by their names")
    return weights


def load_weights(path: Path, model: LatentModel) -> None:
    """Loads a checkpoint's weights. Raises UserError where they are those of another model or architecture."""
    weights = read_weights(path)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(own.keys() | saved.keys()):
        if own.get(name) != saved.get(name):
            said = [f"{shape}" if shape is not None else "nothing" for shape in (saved.get(name), own.get(name))]
            raise UserError(
                f"{path} is a checkpoint of another model or architecture: it has {said[0]} for {name}, this model "
                f"{said[1]}"
            )
    model.load_state_dict(weights)


def check_optimizer(path: Path, model: LatentModel) -> None:
    """Raises UserError for a checkpoint that training cannot go on from, or that trained other parameters."""
    optimizers = read_checkpoint(path, RESUMED)["optimizer_states"]
    saved = sum(len(group["params"]) for state in optimizers for group in state["param_groups"])
    own = len([parameter for parameter in model.parameters() if parameter.requires_grad])
    if saved != own:
        said = f"it trained {saved} parameters, this model has {own}"
        raise UserError(f"{path} is a checkpoint of another model or architecture: {said}")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def images_per_second(trainer: pl.Trainer) -> float:
    """The speed of training; 0 where nothing measured it."""
    measured = [callback for callback in trainer.callbacks if isinstance(callback, Throughput)]  # type: ignore[attr-defined]
    return measured[0].images_per_second if measured else 0.0
