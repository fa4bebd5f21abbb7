"""Errors that end a command with one line: the setting, its value and what is allowed."""

import dis
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from traceback import print_exc, walk_tb
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


class Tracebacks:
    """Whether errors of one line show their tracebacks too: the setting `traceback`."""

    shown = False

    @classmethod
    def show(cls) -> None:
        """Prints the traceback of the exception that is being handled, where that is asked for."""
        if cls.shown and sys.exc_info()[0] is not None:
            print_exc()


class Failure(SystemExit):
    """The end of a command with exit code 1, and the line that it has printed."""

    def __init__(self, message: str) -> None:
        super().__init__(1)
        self.message = message


def fail(message: str) -> NoReturn:
    """Ends the command with one line on stderr and exit code 1."""
    Tracebacks.show()
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


@cache
def libraries() -> set[str]:
    """The packages whose code is not the user's: Python's, this one, and all that it depends on, extras included."""
    waiting, distributions = ["discrete-latents"], set[str]()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in distributions:
            distributions.add(name)
            with suppress(PackageNotFoundError):
                waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requires(name) or ()]
    packages = {
        package
        for package, names in packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", name).lower() for name in names} & distributions
    }
    return {*sys.stdlib_module_names, "discrete_latents", *packages}


def in_own_code(error: BaseException) -> bool:
    """Whether an exception came through the user's own code, below the caller: it keeps its traceback then."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(name.partition(".")[0] not in libraries() for name in frames)


def is_refusal(error: BaseException) -> bool:
    """Whether an exception says that what the raising function was given is wrong: a ValueError or TypeError of a
    `raise` statement in the user's code or this package's, where one of an operation is a bug in the function."""
    tracebacks = [error.__traceback__]
    while (last := tracebacks[-1]) is not None:
        tracebacks.append(last.tb_next)
    if len(tracebacks) < 2 or not isinstance(error, ValueError | TypeError):
        return False
    frame, at = tracebacks[-2].tb_frame, tracebacks[-2].tb_lasti  # type: ignore[union-attr]
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    ours = package == "discrete_latents" or package not in libraries()
    return ours and frame.f_code.co_code[at] == dis.opmap["RAISE_VARARGS"]


def suggest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known names: "did you mean …?" The same last part comes first, then similar spelling."""
    known = sorted(known)
    alike = [other for other in known if other.split(".")[-1] == name.split(".")[-1]]
    nearest = list(dict.fromkeys(alike + get_close_matches(name, known, n=3, cutoff=0.6)))[:3]
    if nearest:
        return f"did you mean {' or '.join(nearest)}?"
    return f"known: {', '.join(known)}" if len(known) <= 50 else "`--help` lists what there is"
