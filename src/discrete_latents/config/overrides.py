"""Overrides, as Hydra calls the `name=value` arguments of a command line."""

import os
import sys
from collections.abc import Sequence


def key(override: str) -> str:
    """The setting or group that an override changes: `a.b` of `a.b=c`, `+a.b=c` and `~a.b`."""
    return override.lstrip("+~").partition("=")[0]


def argument(name: str) -> str | None:
    """The value that this process's command line gives a setting, without quotes; None where it gives none."""
    values = [given.partition("=")[2] for given in sys.argv[1:] if given.lstrip("+").startswith(f"{name}=")]
    return values[-1].strip("'\"") if values else None


def without_null(words: Sequence[str]) -> list[str]:
    """Overrides of which `experiment=null` is written as Hydra has it.

    >>> without_null(["experiment=null", "seed=1"])
    ['~experiment', 'seed=1']
    """
    return ["~experiment" if word == "experiment=null" else word for word in words]


def multirun() -> bool:
    """Whether this process's command line asks for a sweep."""
    return bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv[1:]))


def quoted(value: str | os.PathLike[str]) -> str:
    """A value in quotes, so that Hydra's grammar takes it literally."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
