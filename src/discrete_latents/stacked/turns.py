"""Threads of which one runs at a time, each with the process's global state as it left it.

A run is written for a process of its own: it seeds torch, logs to its file, and Hydra knows one job. Here several run
in one process, in turn. A turn ends where the run calls `pause`.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from types import FrameType
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor

from discrete_latents.runs.train_log import records

CURRENT: ContextVar["Thread | None"] = ContextVar("thread", default=None)


class Ended(BaseException):
    """Ends a thread of a sweep that Ctrl-C has stopped."""


class ProcessState:
    """The state of this process that a run takes for its own: torch's noise, Hydra's job, messages and output."""

    def __init__(self) -> None:
        hydra: Any = HydraConfig.instance()
        root = logging.getLogger()
        self.noise = torch.get_rng_state()
        self.device_noise: Tensor | None = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        self.hydra = hydra.cfg
        self.handlers, self.level = root.handlers[:], root.level
        self.streams = sys.stdout, sys.stderr
        self.records = records[:]
        self.command = sys.argv

    def restore(self) -> None:
        hydra: Any = HydraConfig.instance()
        root = logging.getLogger()
        torch.set_rng_state(self.noise)
        if self.device_noise is not None:
            torch.cuda.set_rng_state(self.device_noise)
        hydra.cfg = self.hydra
        root.handlers[:] = self.handlers
        if root.level != self.level:
            root.setLevel(self.level)
        sys.stdout, sys.stderr = self.streams
        records[:] = self.records
        sys.argv = self.command

    def close_others(self) -> None:
        """Closes the files of messages that are another job's alone."""
        for handler in logging.getLogger().handlers:
            if handler not in self.handlers:
                handler.close()


class Thread(threading.Thread):
    """A function that runs when it is its turn. error: the exception that ended it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)  # a second Ctrl-C leaves it behind
        self.work = work
        self.context = copy_context()
        self.go, self.back = threading.Lock(), threading.Lock()
        self.go.acquire()
        self.back.acquire()
        self.begun = self.ended = self.stopped = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        self.go.acquire()
        try:
            self.result = self.context.run(self.within)
        except BaseException as error:
            self.error = error
        self.ended = True
        self.back.release()

    def within(self) -> Any:
        CURRENT.set(self)
        return self.work()

    def turn(self) -> None:
        """Runs the thread until it pauses or ends. Called from outside; leaves this process as the thread has it."""
        if not self.begun:
            self.begun = True
            self.start()
        self.go.release()
        self.back.acquire()

    def pause(self) -> None:
        """Ends the turn; returns when the next begins. Called by the thread itself."""
        state = ProcessState()
        self.back.release()
        self.go.acquire()
        state.restore()
        if self.stopped:
            raise Ended


def take_turns(
    works: Sequence[Callable[[], Any]], between: Callable[[], None], stopping: Callable[[], bool]
) -> list[Any]:
    """Calls functions in turn until all have ended. Returns their results, None for one that was not begun.

    between: called after every round, in this thread. stopping: whether no further function is to begin. Raises the
    first exception of them, once all have ended. After Ctrl-C, or an exception of `between`, they end where they pause.
    """
    threads, outside = [Thread(work) for work in works], ProcessState()
    with noted_interrupt() as interrupted:
        run_rounds(threads, outside, between, stopping, interrupted)
    for thread in threads:
        if thread.error is not None:
            raise thread.error
    return [thread.result for thread in threads]


def run_rounds(
    threads: Sequence[Thread],
    outside: ProcessState,
    between: Callable[[], None],
    stopping: Callable[[], bool],
    interrupted: Sequence[bool],
) -> None:
    """The rounds of `take_turns`. outside: the state in which threads begin and `between` is called."""
    try:
        while left := [thread for thread in threads if not thread.ended and (thread.begun or not stopping())]:
            for thread in left:
                if not thread.begun:
                    outside.restore()
                if thread.begun or not stopping():
                    thread.turn()
                if thread.ended:
                    outside.close_others()
                if interrupted:
                    raise KeyboardInterrupt
            outside.restore()
            between()
    except BaseException:
        for thread in threads if len(interrupted) < 2 else ():
            while thread.begun and not thread.ended:
                thread.stopped = True
                thread.turn()
                outside.close_others()
        raise
    finally:
        outside.restore()


@contextmanager
def noted_interrupt() -> Iterator[list[bool]]:
    """Notes Ctrl-C instead of raising KeyboardInterrupt in the middle of a turn. A second one raises it."""
    noted: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(True)
        if len(noted) > 1:
            signal.default_int_handler(number, frame)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield noted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pause() -> None:
    """Ends the turn of the thread that calls it."""
    thread = CURRENT.get()
    assert thread is not None
    thread.pause()
