"""Writes results.json: a run's metrics, and the settings and versions that they were obtained with."""

import json
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

    names: the chosen `experiment` and `latent`. eval_samples: the m of nll.
    """
    return {
        "experiment": names["experiment"],
        "seed": seed,
        "latent": names["latent"],
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
    the file."""
    atomic_write(run.results, json.dumps(masked(results), indent=2) + "\n", synchronise=True)
