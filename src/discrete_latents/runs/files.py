"""The door through which every file of a run is read: regular files of a sensible size, whose damage is one line.

Runs are shared, so a file can be anything: a pipe that never ends, a link, another format, a few bytes that stand for
gigabytes. FileNotFoundError is left to whoever knows what a missing file means.
"""

import csv
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, TypeVar

from discrete_latents.errors import UserError, first_line

T = TypeVar("T")

MEGABYTE = 2**20
LARGEST_JSON = 8 * MEGABYTE
LARGEST_TABLE = 128 * MEGABYTE
MOST_ROWS = 1_000_000


def check_regular(path: Path, largest: float = float("inf")) -> None:
    """Raises ValueError for what is no regular file, links followed, or has more than `largest` bytes."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"it must be a file, got a {'folder' if stat.S_ISDIR(found.st_mode) else 'pipe or device'}")
    if found.st_size > largest:
        raise ValueError(f"it must have at most {int(largest)} bytes, got {found.st_size}")


def is_file(path: Path) -> bool:
    """Whether there is such a file. Raises UserError where that may not be seen."""
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path, name: str | None = None) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError, and UserError for a file that cannot be read or holds something else.

    name: what a message calls the file; None: its path.
    """

    def parse(path: Path) -> dict[str, Any]:
        content = json.loads(path.read_text("utf-8"), parse_int=number_of_64_bits)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content

    return parsed_file(path, LARGEST_JSON, parse, name)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table of metrics, without empty cells: each has a step, a whole number, and numbers by column.

    Raises FileNotFoundError, and UserError for any other file.
    """
    return parsed_file(path, LARGEST_TABLE, table_rows)


def parsed_file(path: Path, largest: float, parse: Callable[[Path], T], name: str | None = None) -> T:
    """What a function makes of a file. Whatever a damaged one makes it raise becomes a UserError that names the file.

    Raises FileNotFoundError too. name: as of `read_json`.
    """
    try:
        check_regular(path, largest)
        return parse(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except RecursionError as error:
        raise UserError(f"{name or path} is damaged: it is nested too deep") from error
    except Exception as error:  # whatever the content makes a parser raise
        said = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UserError(f"{name or path} is damaged: {said}") from error


def reason(path: Path, error: Exception) -> str:
    """Why a file is damaged, without its name."""
    return str(error).removeprefix(f"{path} is damaged: ")


def number_of_64_bits(digits: str) -> int:
    """Raises ValueError for a number that fits nowhere."""
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def table_rows(path: Path) -> list[dict[str, str]]:
    """Raises ValueError and csv.Error for what is no table of metrics."""
    text = path.read_bytes().decode()
    if text and "\n" not in text:
        raise ValueError("it has no line")
    whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")  # a kill can leave half of the last line
    reader = csv.reader(whole)
    columns = next(reader, ["step"])
    if "step" not in columns or len({*columns}) < len(columns):
        raise ValueError("its first line must name its columns, step among them, each once")
    rows: list[dict[str, str]] = []
    for cells in reader:
        if len(cells) > len(columns) or len(rows) == MOST_ROWS:
            most = f"{len(columns)} cells" if len(cells) > len(columns) else f"{MOST_ROWS} rows"
            raise ValueError(f"line {reader.line_num} is beyond the {most} that it can have")
        row = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
        for name, cell in row.items():
            if name == "step" and number_of_64_bits(cell) < 0:
                raise ValueError(f"step must be at least 0, got {cell}")
            float(cell)
        if row:
            rows.append(row)
    return rows


def plain_name(named: Any, suffix: str) -> str | None:
    """The name at the end of a path that a file of a run holds; None where it is not that of a file with this suffix.

    >>> plain_name("/elsewhere/run/checkpoints/best.ckpt", ".ckpt"), plain_name("/elsewhere/run/..", ".ckpt")
    ('best.ckpt', None)
    """
    name = PurePath(named).name if isinstance(named, str) else ""
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        return None
    plain = name.endswith(suffix) and name != suffix and not {"\0", "/", "\\"} & set(name) and length < 250
    return name if plain else None
