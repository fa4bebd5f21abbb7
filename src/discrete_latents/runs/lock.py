"""One process at a time writes into a directory. The system releases the lock of a process that dies."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime

from filelock import FileLock, Timeout

from discrete_latents.atomic_write import atomic_write
from discrete_latents.errors import UserError, one_line
from discrete_latents.process import is_first
from discrete_latents.runs.directory import RunDirectory, SweepDirectory

HELD = ExitStack()
"""The locks that a command holds until its end. A command runs within it: `with HELD:`."""

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system without locks answers. Nothing is held there."""


@contextmanager
def hold(directory: RunDirectory | SweepDirectory, wait: Callable[[str], object] | None = None) -> Iterator[None]:
    """Holds a directory's lock, as the first process of a run; the others do nothing.

    wait: called with who holds the lock, if another process does, before this one waits for it. None: raises UserError
    instead, which says who does. Raises OSError where the lock's file cannot be made.
    """
    if not is_first():
        yield
        return
    lock = FileLock(directory.lock)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if wait is None:
                raise UserError(f"{directory} is in use by {holder(directory)}") from None
            wait(holder(directory))
            lock.acquire()
        except NotImplementedError:
            pass
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        if lock.is_locked:
            since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
            with suppress(OSError):  # a full disk: another process is then told less
                atomic_write(directory.holder, f"process {os.getpid()} on {socket.gethostname()}, since {since}\n")
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                directory.holder.unlink(missing_ok=True)
        lock.release()


def holder(directory: RunDirectory | SweepDirectory) -> str:
    """Who holds a directory's lock, as "process 7 on host, since 2026-01-31 12:00:00"."""
    with suppress(OSError):
        if said := directory.holder.read_text(errors="replace")[:200].strip():
            return one_line(said)
    return "another process"


def claim(directory: RunDirectory | SweepDirectory, taken: Callable[[], str | None]) -> None:
    """Creates a directory and holds its lock until the command's end. Where it is taken, nothing is touched.

    taken: says in one line why something new cannot be written into the directory; None if it can. Raises UserError
    with that line, or with who holds the lock, and OSError for a directory that cannot be written. Does nothing in the
    other processes of a run.
    """
    if not is_first():
        return
    if not directory.holder.exists() and (why := taken()):  # with a holder, the lock says whether it is alive
        raise UserError(why)
    directory.folder.mkdir(parents=True, exist_ok=True)
    HELD.enter_context(hold(directory))
    if why := taken():
        raise UserError(why)
