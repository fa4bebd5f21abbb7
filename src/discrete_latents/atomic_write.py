"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: Path, content: bytes | str | Callable[[Path], object], synchronise: bool = False) -> None:
    """Writes `path` by way of `path.partial`: whoever reads it, and a process killed while writing, finds the old file
    or the new one.

    content: bytes, text, or a function that writes the file it is given. synchronise: whether the file and its folder
    are on the disk before this returns, so that a power cut does not take them; some milliseconds.
    Raises OSError where the disk refuses; the old file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if callable(content):
            content(partial)
        else:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
        if synchronise:
            synchronised(partial)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if synchronise:
        synchronised(path.parent)


def synchronised(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk, where the system can say so."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
