"""Which jobs of a sweep train together: those whose steps differ in the values of tensors alone."""

import json
from collections.abc import Hashable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from discrete_latents.sweep.processes import several_processes

OURS = "discrete_latents.latent."
LEARNED = f"{OURS}Learned"
UNUSED = {"model.eval_samples", "model.eval_chunk", "data.seed", "data.label_seed", "data.eval_batch_size"}
"""Settings that no training step depends on, or only by its data."""
SCHEDULES = ("latent.temperature", "model.beta", "model.free_bits")
"""Nodes whose numbers reach a step by a tensor, which a callback sets."""
TRAINER = ("accelerator", "devices", "precision")


def why_alone(config: DictConfig) -> str | None:
    """Why a job is trained by itself; None where it may be stacked. Hydra knows the job."""
    hydra = config.hydra.job
    loggers = (config.get("logger") or {}).values()
    reasons = {
        "train = false": not config.get("train", True),
        "compile = true compiles the step of one run": config.compile is True,
        "it starts several processes": several_processes(config.trainer),
        "W&B has one run a process": any(
            "wandb" in str(logger.get("_target_")).lower() for logger in loggers if logger
        ),
        "hydra.job.chdir = true moves this process": bool(hydra.chdir),
        "hydra.job.env_set changes this process": bool(hydra.env_set),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def group_of(config: DictConfig) -> Hashable:
    """Equal for jobs whose steps are one program: what a step depends on, without seeds and the numbers of schedules.

    What the optimiser, the callbacks, the loggers and the limits of training are makes no difference. Hydra knows the
    job.
    """
    settings = {name: OmegaConf.to_container(config[name], resolve=True) for name in ("model", "latent", "data")}
    settings["trainer"] = {name: config.trainer.get(name) for name in TRAINER}
    return json.dumps(without_numbers(settings), sort_keys=True, default=str)


def without_numbers(value: Any, path: str = "") -> Any:
    """Settings without those in `UNUSED` and the numbers of our schedules."""
    if not isinstance(value, Mapping):
        return value
    ours = path in SCHEDULES and str(value.get("_target_")).startswith(OURS) and value["_target_"] != LEARNED
    below = {str(name): (f"{path}.{name}" if path else str(name), inner) for name, inner in value.items()}
    return {
        name: without_numbers(inner, where)
        for name, (where, inner) in below.items()
        if where not in UNUSED and not (ours and type(inner) in (int, float))
    }
