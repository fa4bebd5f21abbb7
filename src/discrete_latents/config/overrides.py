"""The overrides of a command line: what is asked for, and how Hydra is told something else."""

import os
import sys
from collections.abc import Sequence


def key(word: str) -> str:
    """What a word sets: `a.b` of `a.b=c`, `+a.b=c` and `~a.b`."""
    return word.lstrip("+~").partition("=")[0]


def argument(name: str) -> str | None:
    """The value of `name=value` on the command line."""
    values = [word.partition("=")[2] for word in sys.argv[1:] if word.lstrip("+").startswith(f"{name}=")]
    return values[-1].strip("'\"") if values else None


def without_null(words: Sequence[str]) -> list[str]:
    """Overrides of which `experiment=null` is written as Hydra has it.

    >>> without_null(["experiment=null", "seed=1"])
    ['~experiment', 'seed=1']
    """
    return ["~experiment" if word == "experiment=null" else word for word in words]


def multirun() -> bool:
    """Whether the command line asks for a sweep."""
    return bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv[1:]))


def quoted(value: str | os.PathLike[str]) -> str:
    """A value that Hydra's grammar takes as it is."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
