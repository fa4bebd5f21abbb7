"""Exceptions that a run survives: their tracebacks are in its log."""

import traceback
from contextlib import suppress

from discrete_latents.errors import first_line
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.files import check_regular


def write_traceback(run: RunDirectory, error: Exception) -> str:
    """Adds an exception's traceback to the run's log, where that can be written.

    Returns the exception in one line, which says where there is more, for a warning.
    """
    with suppress(OSError, ValueError):
        if run.log.exists():
            check_regular(run.log)
        with run.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    return f"{type(error).__name__}: {first_line(error)} ({run.log.name} has more)"
