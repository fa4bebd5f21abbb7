"""Atomic writes: a reader finds the old file or the new one, never half of one."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

SUFFIX = ".partial"
"""Of the file that is written before it replaces `path`. One that a killed process left is overwritten."""


def atomic_write(
    path: Path, content: bytes | memoryview | str | Callable[[Path], object], synchronise: bool = False
) -> None:
    """Writes `path.partial`, then renames it to `path`. Creates the folder.

    content: bytes, text, or a function that writes the file it is given; that file's name ends in .partial, whatever
    the format. synchronise: also wait until the file and its name are on the disk, so that a power cut cannot take
    them; some milliseconds.
    After any exception the old file is as it was, and no partial file is left. Raises OSError if the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + SUFFIX)
    try:
        partial.unlink(missing_ok=True)  # which may be a pipe, or a link to a file of somebody else's
        if callable(content):
            content(partial)
        else:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
        if synchronise:
            synchronise_to_disk(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if synchronise:
        synchronise_to_disk(path.parent)


def atomic_folder(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Writes files into a folder, which appears with all of them or not at all. Where the folder is there already, each
    file is written atomically, in the given order."""
    partial = folder if folder.is_dir() else folder.with_name(folder.name + SUFFIX)
    for name, text in contents.items():
        atomic_write(partial / name, text)
    if partial != folder:
        os.replace(partial, folder)


def synchronise_to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk. Windows cannot say so of a folder."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
