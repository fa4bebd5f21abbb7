"""Damages of a file, as disks, kills and other people leave them."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGALRM, alarm, signal


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 20, len(content), max(1, len(content) // 10)):
        content[place] ^= 0x5A
    path.write_bytes(content)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def huge(path: Path) -> None:
    """Three gigabytes that take no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(3 * 2**30)


def bound_socket(path: Path) -> None:
    folder = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(folder)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 3),
    "flipped": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "text": lambda path: path.write_text("hello"),
    "a list": lambda path: path.write_text("[1, 2]"),
    "deep": lambda path: path.write_text("[" * 50_000),
    "deep objects": lambda path: path.write_text('{"a":' * 50_000),
    "huge": huge,
    "a link to another file": replaced(lambda path: path.symlink_to(os.devnull)),
    "a link to nothing": replaced(lambda path: path.symlink_to("nothing")),
    "a link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "a pipe": replaced(os.mkfifo),
    "a socket": replaced(bound_socket),
    "a folder": replaced(Path.mkdir),
}


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer, a read of a pipe included."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    former = signal(SIGALRM, stop)
    alarm(seconds)
    try:
        yield
    finally:
        alarm(0)
        signal(SIGALRM, former)


def listing(folder: Path) -> dict[str, tuple[int, int, int, str]]:
    """Of everything below a folder but folders: what it is, its size and time of change, and where a link leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            stat, target = path.lstat(), os.readlink(path) if path.is_symlink() else ""
            found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, target)
    return found
