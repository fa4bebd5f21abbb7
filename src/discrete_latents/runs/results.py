"""Writes results.json: a run's metrics, and the settings and versions that they were obtained with."""

import json
import math
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.atomic_write import atomic_write
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.source_commit import source_commit
from discrete_latents.secrecy import masked


def describe(names: Mapping[str, str], seed: int, data: Mapping[str, Any], eval_samples: int) -> dict[str, Any]:
    """What a result was obtained with, as results.json has it.

    names: the chosen `experiment` and `latent`, and `model` and `network` where they are known. eval_samples: the m of
    nll.
    """
    return {
        "experiment": names["experiment"],
        "seed": seed,
        **{name: names[name] for name in ("model", "network", "latent") if name in names},
        "data": dict(data),
        "eval_samples": eval_samples,
        "versions": versions(),
        "git": source_commit(),
    }


def versions() -> dict[str, str]:
    packages = ("discrete-latents", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in packages}


@rank_zero_only
def write_results(run: RunDirectory, results: Mapping[str, Any]) -> None:
    """Writes results.json, without secrets, atomically and synchronised: after it returns, a power cut does not take
    the file.

    What is not finite becomes null: JSON has no word for it. `nonfinite` says what it was.
    """
    atomic_write(run.results, results_text(results), synchronise=True)


def results_text(results: Mapping[str, Any]) -> str:
    """The content of results.json."""
    return json.dumps(without_nonfinite(masked(results)), indent=2, allow_nan=False) + "\n"


def without_nonfinite(value: Any) -> Any:
    """A value with null in the place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: without_nonfinite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nonfinite(metrics: Mapping[str, float]) -> str:
    """The metrics that are not finite, "test/nll = nan"; "" where all are."""
    return ", ".join(f"{name} = {value}" for name, value in metrics.items() if not math.isfinite(value))
