"""The overrides of a command line: what is asked for, and how Hydra is told something else."""

import os
import sys
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def key(word: str) -> str:
    """What a word sets: `a.b` of `a.b=c`, `+a.b=c` and `~a.b`."""
    return word.lstrip("+~").partition("=")[0]


def argument(name: str) -> str | None:
    """The value of `name=value` on the command line."""
    values = [word.partition("=")[2] for word in sys.argv[1:] if word.lstrip("+").startswith(f"{name}=")]
    return unquoted(values[-1]) if values else None


def multirun(words: Sequence[str] | None = None) -> bool:
    """Whether a command line, this one by default, asks for a sweep."""
    return bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv[1:] if words is None else words))


def quoted(value: str | os.PathLike[str]) -> str:
    """A value that Hydra's grammar takes as it is."""
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
