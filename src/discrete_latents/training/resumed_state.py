"""Checks the state in a checkpoint before a run goes on from it: every part is what this trainer would save itself."""

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from torch import Tensor, nn

from discrete_latents.callbacks import WeightAverage
from discrete_latents.errors import UserError, first_line
from discrete_latents.lightning_internals import saved_loops, steps_in_loops
from discrete_latents.models import LatentModel
from discrete_latents.runs.checkpoints import RESUMED, read_checkpoint, type_and_shape
from discrete_latents.runs.files import plain_name

COUNTS = ("epoch", "global_step", "metrics_rows", "threads")
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""Of a ModelCheckpoint's state. Lightning deletes such files, in whatever folder they are."""
OURS = ("discrete_latents.", "lightning.")
LATER = {"replaced"}
"""Parts of callbacks' states that runs of before do not have."""


def check_state(path: Path, trainer: pl.Trainer, model: pl.LightningModule) -> None:
    """Raises UserError, naming the part, for a checkpoint that the trainer could not go on from as it was: parts of
    another type or shape, counts that contradict each other, and files outside the folder of the checkpoints.
    """
    content = read_checkpoint(path, RESUMED)
    check_trained_parameters(path, content["optimizer_states"], model)
    wrong = next(mistakes_in(content, trainer, model), None)
    if wrong is not None:
        raise UserError(f"{path} is damaged, no run goes on from it: {wrong}")


def check_trained_parameters(path: Path, optimizers: Any, model: pl.LightningModule) -> None:
    """Raises UserError where another number of parameters was trained, of a model that trains all."""
    if not isinstance(model, LatentModel):
        return
    own = len([parameter for parameter in model.parameters() if parameter.requires_grad])
    try:
        saved = sum(len(group["params"]) for state in optimizers for group in state["param_groups"])
    except (TypeError, KeyError, IndexError):
        return  # `optimizer_mistakes` says it
    if optimizers and saved != own:
        said = f"it trained {saved} parameters, this model has {own}"
        raise UserError(f"{path} is a checkpoint of another model or architecture: {said}")


def mistakes_in(content: Mapping[str, Any], trainer: pl.Trainer, model: pl.LightningModule) -> Iterator[str]:
    """What is wrong with each part of a checkpoint. Only the first is right: a part relies on those before it."""
    for name in COUNTS:
        if type(count := content.get(name, 0)) is not int or not 0 <= count < 2**63:
            yield f"{name} must be a whole number of at least 0, got {count!r:.80}"
    if not isinstance(content.get("pytorch-lightning_version"), str):
        yield "pytorch-lightning_version must be text"
    if not is_list_of(dict, content.get("lr_schedulers")):
        yield "lr_schedulers must be a list of states"
    yield from noise_mistakes(content)
    for name in ("other_processes", "other_noise"):
        others = content.get(name, [])
        if not is_list_of(dict, others):
            yield f"{name} must be a list of states"
        else:
            for state in others:
                yield from noise_mistakes(state)
    yield from optimizer_mistakes(content["optimizer_states"], trainer, model)
    yield from average_mistakes(content, trainer, model)
    loops = content["loops"].get("fit_loop") if isinstance(content["loops"], dict) else None
    if not isinstance(loops, dict):
        yield "loops must hold the counts of training"
    else:
        fresh = saved_loops(trainer)
        yield from unlike({name: fresh[name] for name in fresh if name in loops}, loops, "loops")
        if content["global_step"] not in steps_in_loops(loops):
            yield f"global_step must be the number of steps in its loops, got {content['global_step']}"
    yield from callback_mistakes(content["callbacks"], trainer)


def noise_mistakes(content: Mapping[str, Any]) -> Iterator[str]:
    try:
        with torch.random.fork_rng([]):
            torch.set_rng_state(content["noise"])
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        yield f"noise must be a state of torch's generator: {first_line(error)}"
    try:
        if "python_noise" in content:  # of a module or data of the user's own
            random.Random().setstate(content["python_noise"])
            keys, *rest = content["numpy_noise"]
            np.random.RandomState().set_state(("MT19937", np.array(keys, np.uint32), *rest))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        yield f"python_noise and numpy_noise must be states of their generators: {first_line(error)}"
    cuda = content.get("cuda_noise", torch.zeros(16, dtype=torch.uint8))
    if not isinstance(cuda, Tensor) or type_and_shape(cuda) != "uint8 (16,)":
        yield "cuda_noise must be a state of CUDA's generator"
    bounds = content.get("trained_bounds", [])
    if not is_list_of(Tensor, bounds) or not all(is_number(bound) for bound in bounds):
        yield "trained_bounds must be a list of numbers"


def optimizer_mistakes(states: Any, trainer: pl.Trainer, model: pl.LightningModule) -> Iterator[str]:
    """Compares with the state of a new optimiser after a step without gradients, on copies of the parameters."""
    if not is_list_of(dict, states):
        yield "optimizer_states must be a list of states"
    if not isinstance(model, LatentModel) or type(model).configure_optimizers is not LatentModel.configure_optimizers:
        return
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    copies = [nn.Parameter(torch.zeros_like(parameter)) for parameter in trained]
    optimizer = model.optimization.optimizer(copies)
    for copy in copies:
        copy.grad = torch.zeros_like(copy)
    try:
        optimizer.step()
    except (TypeError, RuntimeError):  # of an optimiser that needs more than gradients
        return
    fresh = optimizer.state_dict()
    groups: Any = states[0].get("param_groups") if len(states) == 1 else None
    if not is_list_of(dict, groups) or [group.get("params") for group in groups] != [
        group["params"] for group in fresh["param_groups"]
    ]:
        yield "optimizer_states must be one state, of the model's parameters"
    else:
        for own, group in zip(fresh["param_groups"], groups, strict=True):
            for name in [name for name in own if name in group and name != "params"]:
                value = float(own[name]) if type(own[name]) is int else own[name]  # 0 of weight_decay, as of 0.1
                yield from unlike(value, group[name], f"optimizer_states.{name}")
        state, known = states[0].get("state"), fresh["state"]
        if not isinstance(state, dict) or not state.keys() <= known.keys() or bool(state) != bool(known):
            yield "optimizer_states must hold the state of the model's parameters"
        else:
            yield from unlike({number: known[number] for number in state}, state, "optimizer_states", trainer.precision)


def average_mistakes(content: Mapping[str, Any], trainer: pl.Trainer, model: pl.LightningModule) -> Iterator[str]:
    """The weights that are trained, beside their average in `state_dict`: both or neither, as the callbacks have it."""
    own = any(isinstance(callback, WeightAverage) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    saved = "averaging_state" in content
    if own != saved:
        yield (
            "it averages its weights, and callbacks have no WeightAverage"
            if saved
            else ("it has no average of its weights, which callbacks have a WeightAverage for")
        )
    elif saved:
        yield from unlike(dict(model.state_dict()), content.get("current_model_state"), "current_model_state")
        yield from unlike({"n_averaged": torch.tensor(0)}, content["averaging_state"], "averaging_state")


def callback_mistakes(states: Any, trainer: pl.Trainer) -> Iterator[str]:
    if not isinstance(states, dict) or not all(isinstance(name, str) for name in states):
        yield "callbacks must be states by their names"
        return
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state, where = states.get(callback.state_key), f"callbacks.{type(callback).__name__}"
        if state and type(callback).__module__.startswith(OURS):
            own = callback.state_dict()
            if isinstance(callback, Timer):  # 0 before anything has taken time
                own = {"time_elapsed": {stage: float(seconds) for stage, seconds in own["time_elapsed"].items()}}
            absent = LATER - state.keys() if isinstance(state, dict) else set()
            yield from unlike({name: own[name] for name in own if name not in absent}, state, where)
        if state and isinstance(callback, ModelCheckpoint):
            yield from path_mistakes(state, callback, where)


def path_mistakes(state: Any, callback: ModelCheckpoint, where: str) -> Iterator[str]:
    """Names of checkpoints that Lightning would delete or write over."""
    best = state.get("best_k_models", {}) if isinstance(state, dict) else None
    if not isinstance(best, dict) or not all(is_number(score) for score in best.values()):
        yield f"{where}.best_k_models must be scores by paths"
        return
    for path in [*best, *(state.get(name, "") for name in PATHS)]:
        if path != "" and not leads_inside(path, callback.dirpath):
            yield f"{where} must name checkpoints in their folder, got {path!r:.200}"
    kept = 0 < len(best) == callback.save_top_k and callback.monitor is not None
    if (kept or state.get("kth_best_model_path")) and state.get("kth_best_model_path") not in best:
        yield f"{where}.kth_best_model_path must be one of best_k_models"


def leads_inside(path: Any, folder: str | os.PathLike[str] | None) -> bool:
    """Whether a path is that of a checkpoint, and does not leave the folder that it claims to be in."""
    if plain_name(path, ".ckpt") is None or ".." in PurePath(path).parts:
        return False
    if folder is None or Path(folder) not in Path(path).parents:
        return True  # of a run that was moved: its name alone counts
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def unlike(own: Any, saved: Any, where: str, precision: Any = None) -> Iterator[str]:
    """What in a saved state is not as in one of this trainer's own: names, types, shapes; counts below 0.

    precision: as of `type_and_shape`.
    """
    if isinstance(own, dict) and isinstance(saved, dict):
        for name, value in own.items():
            if name in saved:
                yield from unlike(value, saved[name], f"{where}.{name}", precision)
            else:
                yield f"{where} has no {name}"
    elif isinstance(own, tuple) and isinstance(saved, list | tuple) and len(own) == len(saved):
        for value, other in zip(own, saved, strict=True):
            yield from unlike(value, other, where, precision)
    elif isinstance(own, Tensor) and own.dim() > 0:
        if not isinstance(saved, Tensor) or type_and_shape(saved) != type_and_shape(own, precision):
            got = type_and_shape(saved) if isinstance(saved, Tensor) else type(saved).__name__
            yield f"{where} must be {type_and_shape(own, precision)}, got {got}"
    elif type(own) is int:
        if type(saved) is not int or not 0 <= saved < 2**63:
            yield f"{where} must be a whole number of at least 0, got {saved!r:.80}"
    elif isinstance(own, float | Tensor):
        if not is_number(saved):
            yield f"{where} must be a number, got {type(saved).__name__}"
    elif own is not None and not isinstance(saved, list if isinstance(own, list) else type(own)):
        yield f"{where} must be a {type(own).__name__}, got {type(saved).__name__}"


def is_number(value: Any) -> bool:
    """A number, or a tensor of one that is no complex."""
    if isinstance(value, Tensor):
        return value.dim() == 0 and not value.is_complex()
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_list_of(kind: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)
