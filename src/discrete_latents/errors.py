"""Errors that end a command with one line: the setting, its value and what is allowed."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn


class UserError(Exception):
    """A mistake in settings, files or arguments. Commands print it as one line, without a traceback; exit code 1."""


class NotApplicable(UserError):
    """An estimator that is not defined for the model it is given; a sweep over all estimators leaves such a job out."""


class NotFinite(Exception):
    """A parameter or a bound is no longer finite in training.

    step: the number of optimiser steps done. batch: the batch of the last step, if the update has not been done yet.
    """

    def __init__(self, step: int, batch: Any = None) -> None:
        super().__init__(f"training is not finite after {step} steps")
        self.step = step
        self.batch = batch


class Failure(SystemExit):
    """The end of a command with exit code 1, and the line that it has printed."""

    def __init__(self, message: str) -> None:
        super().__init__(1)
        self.message = message


def fail(message: str) -> NoReturn:
    """Ends the command with one line on stderr and exit code 1."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    raise Failure(one_line(message))


def one_line(message: str) -> str:
    """A message whose newlines and other control characters, which stand in a user's values, are shown escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in message
    )


def first_line(error: Exception) -> str:
    """The first line of an error's message; its type's name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def suggest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known names: "did you mean …?" The same last part comes first, then similar spelling."""
    known = sorted(known)
    alike = [other for other in known if other.split(".")[-1] == name.split(".")[-1]]
    nearest = list(dict.fromkeys(alike + get_close_matches(name, known, n=3, cutoff=0.6)))[:3]
    if nearest:
        return f"did you mean {' or '.join(nearest)}?"
    return f"known: {', '.join(known)}" if len(known) <= 20 else "`--help` lists what there is"
