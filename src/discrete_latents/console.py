"""The one door for what is said to a person: text as it is, never markup, and never a reason for a run to fail."""

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console


def console(stderr: bool = False) -> Console:
    """A rich console that takes paths, overrides and error texts literally: `[csv]` and `:x:` mean nothing to it."""
    # The file by name: rich looks at its encoding and draws boxes of ASCII where it has to.
    return Console(file=sys.stderr if stderr else sys.stdout, markup=False, highlight=False, emoji=False)


def protect_streams() -> None:
    """Makes stdout and stderr streams that never raise: a pipe that is closed (`| head`), a full device and a terminal
    of ASCII change what is read, and nothing else."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, QuietStream):
            setattr(sys, name, QuietStream(io.StringIO() if stream is None else stream, delivers=stream is not None))


class QuietStream:
    """A text stream that escapes what its encoding lacks, and drops the text that cannot be delivered."""

    def __init__(self, stream: Any, delivers: bool = True) -> None:
        self.stream = stream
        self.delivers = delivers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stream"], name)

    def write(self, text: str) -> int:
        try:
            if self.delivers:
                self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError:
            self.drop()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            if self.delivers:
                self.stream.flush()
        except OSError:
            self.drop()

    def drop(self) -> None:
        """Sends all further text nowhere, what is buffered included, which is else tried again at exit."""
        self.delivers = False
        with suppress(OSError, ValueError):  # of a stream without a descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
