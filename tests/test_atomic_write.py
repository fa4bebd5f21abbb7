"""Atomic writes: whoever reads, whenever the writer fails, there is the old file or the new one."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from discrete_latents.atomic_write import SUFFIX, atomic_write
from discrete_latents.callbacks.checkpoint import WholeFiles
from discrete_latents.errors import UserError


def half(error: BaseException) -> Callable[[Path], None]:
    """A writer that fails half way."""

    def write(path: Path) -> None:
        path.write_text("ha")
        raise error

    return write


@pytest.mark.parametrize("content", ["new", b"new", memoryview(b"new"), lambda path: path.write_text("new")])
@pytest.mark.parametrize("synchronise", [False, True])
def test_content_of_any_kind_replaces_the_file_and_makes_its_folder(tmp_path, content, synchronise):
    path = tmp_path / "a" / "b.json"
    for _ in range(2):
        atomic_write(path, content, synchronise)
        assert path.read_text() == "new"
        assert [file.name for file in path.parent.iterdir()] == ["b.json"]


@pytest.mark.parametrize("old", ["old", None])
@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, old, error):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with pytest.raises(type(error)):
        atomic_write(path, half(error))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({"file": old} if old else {})


def test_a_partial_file_of_a_killed_process_is_written_over(tmp_path):
    path = tmp_path / "file"
    code = "import os, sys; from pathlib import Path; from discrete_latents.atomic_write import atomic_write\n"
    code += "atomic_write(Path(sys.argv[1]), lambda path: (path.write_text('half and more'), os.kill(os.getpid(), 9)))"
    path.write_text("old")
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert path.read_text() == "old"
    assert path.with_name(path.name + SUFFIX).read_text() == "half and more"
    atomic_write(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "new")]


@pytest.mark.parametrize("synchronise", [False, True])
def test_the_file_is_synchronised_before_its_name_and_then_the_folder(tmp_path, monkeypatch, synchronise):
    done = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    atomic_write(tmp_path / "file", "new", synchronise)
    assert done == (["file", "rename", "folder"] if synchronise else ["rename"])


def test_who_reads_at_the_same_time_never_sees_half_a_file(tmp_path):
    path, size = tmp_path / "file", 200_000
    contents = [bytes([number]) * size for number in range(2)]
    atomic_write(path, contents[0])
    ended = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not ended.is_set():
            seen.add(path.read_bytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(300):
        atomic_write(path, contents[number % 2])
    ended.set()
    for reader in readers:
        reader.join()
    assert seen == set(contents)


def test_a_checkpoint_that_the_disk_refuses_is_one_line_and_leaves_the_former(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)

    def full(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be written: No space left on device$"):
        WholeFiles().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
