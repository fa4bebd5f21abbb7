"""All console output: literal text without markup, which never makes a run fail."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console

from discrete_latents.secrecy import masked_text


def console(stderr: bool = False, width: int | None = None, recorded: bool = True) -> Console:
    """A rich console that prints text literally: `[csv]` and `:x:` are not markup.

    width: in characters; None for that of the terminal. recorded: False leaves what it prints out of train.log.
    """
    stream: Any = sys.stderr if stderr else sys.stdout
    # Pass the stream explicitly: rich reads its encoding and falls back to ASCII boxes. In a notebook it would ignore
    # the stream, and nothing would be recorded.
    stream = stream if recorded else getattr(stream, "unrecorded", stream)
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width, force_jupyter=False)


def protect_streams() -> None:
    """Replaces stdout and stderr by streams that never raise.

    A closed pipe (`| head`), a full device or an ASCII terminal then affects only the output. Nor does a log file that
    cannot be written fill stderr with tracebacks.
    """
    logging.raiseExceptions = False
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, QuietStream):
            setattr(sys, name, QuietStream(io.StringIO() if stream is None else stream, delivers=stream is not None))


class MaskedFormatter(logging.Formatter):
    """Lines of a log without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return masked_text(super().format(record))


class QuietStream:
    """A text stream that masks secrets, escapes characters its encoding lacks and drops text that cannot be written."""

    def __init__(self, stream: Any, delivers: bool = True) -> None:
        self.stream = stream
        self.delivers = delivers
        self.put: Callable[[str], int] = self.deliver

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stream"], name)

    @property
    def write(self) -> Callable[[str], int]:
        """Masks, then writes by `put`. Who sets it, as W&B does to see what is printed, sets `put`: it gets what is
        masked, and may call what stood here before."""
        put = self.put
        return lambda text: put(masked_text(text))

    @write.setter
    def write(self, put: Callable[[str], int]) -> None:
        self.put = put

    def deliver(self, text: str) -> int:
        try:
            if self.delivers:
                self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.deliver(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):  # ValueError: it was closed
            self.drop()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            if self.delivers:
                self.stream.flush()
        except (OSError, ValueError):
            self.drop()

    def drop(self) -> None:
        """Discards all further text and the buffer, which Python would otherwise flush again at exit."""
        self.delivers = False
        with suppress(OSError, ValueError):  # the stream may have no file descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
