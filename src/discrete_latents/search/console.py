"""What a search says, and what is kept from saying anything."""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from discrete_latents.process import prepare_process


def prepare() -> None:
    """Settings of a process that runs trials, before its first."""
    prepare_process()
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def say(line: str) -> None:
    print(line, flush=True)


def values(params: Mapping[str, Any]) -> str:
    """Settings and their values, in short."""
    return " ".join(f"{name}={shown(value)}" for name, value in params.items())


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
