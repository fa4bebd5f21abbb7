"""What a `_target_` that cannot be imported lacks, and where it was looked for."""

import os
import sys
from importlib import import_module
from traceback import extract_tb
from typing import Any

from discrete_latents.errors import first_line, suggest


def import_mistake(target: str) -> str | Exception | None:
    """Why a dotted name cannot be imported, in one line; None where it can. An exception that is no ImportError is a
    bug in a module that exists, and returned."""
    names = target.split(".")
    found: Any = None
    for index, name in enumerate(names):
        path = ".".join(names[: index + 1])
        if index and hasattr(found, name):
            found = getattr(found, name)
            continue
        if index and not hasattr(found, "__path__"):
            return lacks(found, ".".join(names[:index]), name)
        try:
            found = import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                return failed_inside(path, error)
            if index:
                return lacks(found, ".".join(names[:index]), name)
            here = os.getcwd()
            hint = "" if here in map(os.path.abspath, sys.path) else f"; {here} is not on it: PYTHONPATH=. adds it"
            return f"there is no module {path} on Python's path{hint}"
        except ImportError as error:
            return failed_inside(path, error)
        except Exception as error:
            return error
    return None


def lacks(found: Any, path: str, name: str) -> str:
    """That a module or a class has no such attribute."""
    file = getattr(found, "__file__", None)
    known = [other for other in vars(found) if not other.startswith("_")] if hasattr(found, "__dict__") else []
    return f"{path}{f' ({file})' if file else ''} has no {name}; {suggest(name, known)}"


def failed_inside(path: str, error: ImportError) -> str:
    """That a module exists, and where an import in it failed."""
    places = [frame for frame in extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    last = places[-1]
    return f"{path} fails to be imported, in {last.filename}, line {last.lineno}: {first_line(error)}"
