"""results.json: what a run came to, and what it was obtained with."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from discrete_latents.atomic_write import atomic_write


def describe(config: DictConfig, names: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, Any]:
    """What a result was obtained with."""
    return {
        "experiment": names["experiment"],
        "seed": config.seed,
        "latent": names["latent"],
        "data": dict(data),
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
    atomic_write(path, json.dumps(content, indent=2) + "\n", synchronise=True)
