"""Exceptions that a run survives: their tracebacks are in its log."""

import traceback
from contextlib import suppress

from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.files import check_regular


def write_traceback(run: RunDirectory, error: BaseException) -> None:
    """Adds an exception's traceback to the run's log, where that can be written."""
    with suppress(OSError, ValueError):
        if run.log.exists():
            check_regular(run.log)
        with run.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
