"""Pictures of runs as parts of a page."""

import base64
import io
from pathlib import Path

from PIL import Image

LARGEST_PICTURE = 20_000_000
"""Bytes."""


def embedded(file: Path, folder: Path) -> str | None:
    """The data URI of a PNG file; None for a file that is none, is too large, or lies outside `folder`."""
    content = png(file) if is_inside(file, folder) else None
    return None if content is None else f"data:image/png;base64,{base64.b64encode(content).decode()}"


def png(path: Path) -> bytes | None:
    """The content of a picture; None for a file that is none, or too large for a page."""
    with path.open("rb") as file:
        content = file.read(LARGEST_PICTURE + 1)
    if len(content) > LARGEST_PICTURE:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            picture.verify()
    except Exception:  # whatever a damaged file makes the reader raise
        return None
    return content


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a regular file within a folder: a link could show any file of whoever makes the report."""
    return path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(folder.resolve())
