"""Overrides, as Hydra calls the `name=value` arguments of a command line."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException


def key(override: str) -> str:
    """The setting or group that an override changes: `a.b` of `a.b=c`, `+a.b=c` and `~a.b`."""
    return override.lstrip("+~").partition("=")[0]


def argument(name: str) -> str | None:
    """The value that this process's command line gives a setting, without quotes; None where it gives none."""
    value = value_of(name, sys.argv[1:])
    return None if value is None else unquoted(value)


def value_of(name: str, overrides: Iterable[str]) -> str | None:
    """The last value that overrides give a setting, as it is written; None where they give none."""
    values = [given.partition("=")[2] for given in overrides if given.lstrip("+").startswith(f"{name}=")]
    return values[-1] if values else None


NO_OPTION = {"experiment=null": "~experiment", "logger=null": "logger=none", "callbacks=null": "callbacks=none"}
"""What to choose for none of a group's options."""


def without_null(words: Sequence[str]) -> list[str]:
    """Overrides in which null as a group's option is written as Hydra has it.

    >>> without_null(["experiment=null", "logger=null", "seed=1"])
    ['~experiment', 'logger=none', 'seed=1']
    """
    return [NO_OPTION.get(word, word) for word in words]


def multirun(overrides: Sequence[str] | None = None) -> bool:
    """Whether a command line, by default this process's, asks for a sweep."""
    return bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv[1:] if overrides is None else overrides))


def quoted(value: str | os.PathLike[str]) -> str:
    """A value in quotes, so that Hydra's grammar takes it literally."""
    return QuotedString(str(value), Quote.single).with_quotes()


def unquoted(value: str) -> str:
    """What a value is that is quoted for Hydra as a whole; any other as it is."""
    text = value.strip()
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return value
    read = hydra_value(text)
    return read if isinstance(read, str) else value


def parsed(value: str) -> Override | None:
    """An override to a value, as Hydra's grammar reads it; None if it does not parse."""
    try:
        return OverridesParser.create().parse_override(f"x={value}")
    except HydraException:
        return None


def hydra_value(value: str) -> Any:
    """A value as parsed by Hydra's grammar; None if it does not parse."""
    override = parsed(value)
    return None if override is None else override.value()
