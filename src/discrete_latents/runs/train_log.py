"""A copy of what a command prints, for train.log."""

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from discrete_latents.console import QuietStream
from discrete_latents.secrecy import masked_text


class Record:
    """What a command prints, for a file. Kept in memory until `begin`: a command that is refused writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[str] = []
        self.file: Any = None

    def write(self, text: str) -> None:
        """Adds text, without the codes that colour a terminal. What cannot be written is dropped."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", masked_text(text))
        if self.file is None:
            self.kept.append(text)
            return
        with suppress(OSError, ValueError):
            self.file.write(text)

    def begin(self) -> None:
        """Appends what was printed so far to the file, and what will be. Does nothing the second time, and where the
        path is no regular file."""
        if self.file is not None:
            return
        with suppress(OSError):
            if not self.path.exists() or self.path.is_file():
                self.file = self.path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
                for text in self.kept:
                    self.write(text)

    def close(self) -> None:
        if self.file is not None:
            with suppress(OSError, ValueError):
                self.file.close()


class RecordedStream(QuietStream):
    """A stream of which a `Record` has a copy."""

    def __init__(self, unrecorded: Any, record: Record) -> None:
        super().__init__(unrecorded)
        self.unrecorded = unrecorded
        self.record = record

    def deliver(self, text: str) -> int:
        self.record.write(text)
        return super().deliver(text)


records: list[Record] = []
"""That of the command which runs; empty where none is kept."""


@contextmanager
def kept_record(path: Path, at_once: bool) -> Iterator[None]:
    """Keeps what is printed, and the traceback of an exception, for a file, once `begin_record` is called.

    at_once: an exception that is a bug is written even before that.
    """
    streams = sys.stdout, sys.stderr
    records.append(Record(path))
    try:
        record_streams()
        yield
    except Exception as error:
        if at_once:
            records[-1].begin()
        records[-1].write("".join(traceback.format_exception(error)))
        raise
    finally:
        sys.stdout, sys.stderr = streams
        records.pop().close()


def record_streams() -> None:
    """Records stdout and stderr, also those that somebody has replaced since: a progress bar, which has what is printed
    appear above itself."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if records and not isinstance(stream, RecordedStream):
            setattr(sys, name, RecordedStream(stream, records[-1]))


def begin_record() -> None:
    """Writes what was printed so far into train.log, and what will be. To be called once a run is sure to start."""
    for record in records[-1:]:
        record.begin()


def note(text: str) -> None:
    """Writes a line into train.log alone."""
    for record in records[-1:]:
        record.write(f"{text}\n")
