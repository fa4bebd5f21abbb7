"""The output of a search: its own lines, and none of Optuna's."""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from discrete_latents.process import prepare_process


def prepare_worker() -> None:
    """Sets up a process that will run trials."""
    prepare_process()
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def say(line: str) -> None:
    """Prints a line at once, so that the lines of several processes stay whole."""
    print(line, flush=True)


def values(params: Mapping[str, Any]) -> str:
    """Settings and their values, abbreviated: optimizer.lr=0.001."""
    return " ".join(f"{name}={shown(value)}" for name, value in params.items())


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
