"""A user's mistake, said in one line: which setting, what it was, what is allowed."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn


class UserError(Exception):
    """A mistake in settings, files or arguments; shown as one line, without a traceback, with exit code 1."""


class NotApplicable(UserError):
    """An estimator that is not defined for the model it is given; a sweep over all estimators leaves such a job out."""


class NotFinite(Exception):
    """Training came to numbers that are not finite.

    step: the optimiser steps that were done. batch: of the last of them, before its update, where that is known.
    """

    def __init__(self, step: int, batch: Any = None) -> None:
        super().__init__(f"training is not finite after {step} steps")
        self.step = step
        self.batch = batch


def fail(message: str) -> NoReturn:
    """Ends the command with one line on stderr and exit code 1."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(1)


def one_line(message: str) -> str:
    """A message whose newlines and other control characters, which stand in a user's values, are shown escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in message
    )


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names, in words: those that end alike, then those that look alike."""
    known = sorted(known)
    alike = [other for other in known if other.split(".")[-1] == name.split(".")[-1]]
    nearest = list(dict.fromkeys(alike + get_close_matches(name, known, n=3, cutoff=0.6)))[:3]
    if nearest:
        return f"did you mean {' or '.join(nearest)}?"
    return f"known: {', '.join(known)}" if len(known) <= 20 else "`--help` lists what there is"
