"""The process that starts the others of a run, on one machine, and what they do when it has ended."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARENT = "DISCRETE_LATENTS_PARENT"
"""The environment variable by which the processes that Lightning starts know the one that starts them."""


@contextmanager
def known_to_children() -> Iterator[None]:
    """Tells the processes that this one starts which process that is. A process that was started so starts none."""
    if launching_parent() is not None:
        yield
        return
    former = os.environ.get(PARENT)
    os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(PARENT, None)
        if former is not None:
            os.environ[PARENT] = former


def launching_parent() -> int | None:
    """The process that started this one for the same run; None in that process itself, and where another program, such
    as torchrun, started all."""
    named = os.environ.get(PARENT, "")
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    return int(named) if not is_first and named.isdecimal() and int(named) != os.getpid() else None


def end_with_parent() -> None:
    """Ends this process within a second after the one that started it for the same run. Killed, that one would leave it
    waiting for other processes."""
    parent = launching_parent()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)  # whatever the main thread waits for

    if parent is not None:
        threading.Thread(target=watch, name="parent", daemon=True).start()
