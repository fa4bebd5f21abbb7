"""The command lines of the project other than train.py's and eval.py's: help and mistakes in one form."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from discrete_latents.checks import positive, whole
from discrete_latents.errors import fail


class CommandParser(argparse.ArgumentParser):
    """A parser whose `--help` shows `description` as written, then every option with its default.

    description: what the command does in one line, then examples; usually the docstring of its module. A mistake is one
    line on stderr and exit code 1.

    Build it, and parse, before importing anything large: `--help` has to answer at once.
    """

    def __init__(self, description: str | None) -> None:
        # The examples say how a command is called, better than argparse's list of all its options.
        super().__init__(description=description, usage=argparse.SUPPRESS, formatter_class=HelpFormatter)

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; --help says how this is used")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """The description as written, and defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str:  # as argparse's own ArgumentDefaultsHelpFormatter
        text, default = action.help or "", action.default
        if default is None or default is False or default in ("", [], argparse.SUPPRESS):
            return text
        return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"


def whole_number(least: int = 1) -> Callable[[str], int]:
    """The `type` of an argument that is a whole number of at least `least`."""
    return lambda text: checked(lambda: whole("it", int(text), least))


def positive_number(text: str) -> float:
    """The `type` of an argument that is a finite number greater than 0."""
    return checked(lambda: positive("it", float(text)))


def checked(read: Callable[[], Any]) -> Any:
    """What is read. Raises argparse's error for a ValueError, with the reason."""
    try:
        return read()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
