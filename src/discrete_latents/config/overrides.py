"""Overrides, as Hydra calls the `name=value` arguments of a command line."""

import os
import sys
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def key(override: str) -> str:
    """The setting or group that an override changes: `a.b` of `a.b=c`, `+a.b=c` and `~a.b`."""
    return override.lstrip("+~").partition("=")[0]


def argument(name: str) -> str | None:
    """The value that this process's command line gives a setting, without quotes; None where it gives none."""
    values = [given.partition("=")[2] for given in sys.argv[1:] if given.lstrip("+").startswith(f"{name}=")]
    return unquoted(values[-1]) if values else None


def without_null(words: Sequence[str]) -> list[str]:
    """Overrides of which `experiment=null` is written as Hydra has it.

    >>> without_null(["experiment=null", "seed=1"])
    ['~experiment', 'seed=1']
    """
    return ["~experiment" if word == "experiment=null" else word for word in words]


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
    try:
        parsed = OverridesParser.create().parse_override(f"x={text}").value()
    except HydraException:
        return value
    return parsed if isinstance(parsed, str) else value
