"""The argument parser of all commands except train.py and eval.py: consistent help and errors."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from discrete_latents.checks import positive, whole
from discrete_latents.console import protect_streams
from discrete_latents.errors import fail


class CommandParser(argparse.ArgumentParser):
    """A parser whose `--help` shows `description` verbatim, then every option with its default.

    description: one line on what the command does, then examples; usually the module's docstring. An error prints one
    line on stderr and exits with code 1. From here on, printing never makes the command fail.

    Parse before importing anything large, so that `--help` answers at once.
    """

    def __init__(self, description: str | None) -> None:
        protect_streams()
        # The examples show the usage better than argparse's list of all options.
        super().__init__(description=description, usage=argparse.SUPPRESS, formatter_class=HelpFormatter)

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; --help says how this is used")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the description verbatim, and defaults where they exist."""

    def _get_help_string(self, action: argparse.Action) -> str:  # like argparse's ArgumentDefaultsHelpFormatter
        text, default = action.help or "", action.default
        if default is None or default is False or default in ("", [], argparse.SUPPRESS):
            return text
        return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"


def whole_number(least: int = 1) -> Callable[[str], int]:
    """The argparse `type` for a whole number of at least `least`."""
    return lambda text: checked(lambda: whole("it", int(text), least))


def positive_number(text: str) -> float:
    """The argparse `type` for a finite number greater than 0."""
    return checked(lambda: positive("it", float(text)))


def checked(read: Callable[[], Any]) -> Any:
    """The result of `read`. Converts a ValueError to argparse's error, with its message."""
    try:
        return read()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
