"""MNIST as .gz alone, or some of it: extracted, not downloaded; read where the folder cannot be written."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision import datasets

from discrete_latents.data import mnist_files, torchvision_images
from discrete_latents.data.mnist_files import RAW_FILES
from tests.data.test_damaged_files import WHOLE, files
from tests.data.test_sources import write_mnist


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Nothing is downloaded."""
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with MNIST as it is, the labels of each part its own."""
    write_mnist(tmp_path)
    return tmp_path


def compress(root: Path, *names: str) -> None:
    for name in names:
        path = root / "MNIST" / "raw" / name
        path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()


def reads(root: Path) -> bool:
    splits = torchvision_images("MNIST", str(root))
    shapes = [tuple(part.grey.shape) for part in splits]
    labels = [part.labels.unique().tolist() for part in splits]
    return shapes == [(n, 1, 28, 28) for n in (50_000, 10_000, 10_000)] and labels == [[1], [2], [3]]


@pytest.mark.parametrize("names", [RAW_FILES, RAW_FILES[:1], RAW_FILES[1:3]], ids=["all", "images", "some"])
def test_compressed_files_are_extracted_beside_themselves(root, names):
    expected = {name: (root / "MNIST" / "raw" / name).read_bytes() for name in RAW_FILES}
    compress(root, *names)
    assert reads(root)
    assert files(root) == WHOLE | {f"MNIST/raw/{name}.gz" for name in names}
    assert expected == {name: (root / "MNIST" / "raw" / name).read_bytes() for name in RAW_FILES}
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert reads(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.mnist
def test_real_images_are_the_same_compressed(mnist_root, tmp_path):
    expected = torchvision_images("MNIST", str(mnist_root))
    (tmp_path / "MNIST").mkdir()
    for name in RAW_FILES:
        content = gzip.compress((mnist_root / "MNIST" / "raw" / name).read_bytes(), 1)
        (tmp_path / "MNIST" / f"{name}.gz").write_bytes(content)
    for part, again in zip(expected, torchvision_images("MNIST", str(tmp_path)), strict=True):
        assert torch.equal(part.grey, again.grey)
        assert torch.equal(part.labels, again.labels)


@pytest.mark.mnist
def test_real_images_are_those_that_torchvision_reads(mnist_root):
    splits = torchvision_images("MNIST", str(mnist_root))
    train, test = (datasets.MNIST(str(mnist_root), train=train) for train in (True, False))
    assert torch.equal(torch.cat([splits.train.grey, splits.val.grey]).squeeze(1), train.data)
    assert torch.equal(torch.cat([splits.train.labels, splits.val.labels]), train.targets)
    assert torch.equal(splits.test.grey.squeeze(1), test.data)
    assert torch.equal(splits.test.labels, test.targets)


SPELLINGS = {
    "above raw": lambda root, name: root / "MNIST" / f"{name}.gz",
    "with a dot": lambda root, name: root / "MNIST" / "raw" / f"{name.replace('-idx', '.idx')}.gz",
    "with a dot, plain": lambda root, name: root / "MNIST" / "raw" / name.replace("-idx", ".idx"),
    "extracted by a browser, still named .gz": lambda root, name: root / "MNIST" / "raw" / f"{name}.gz",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_files_as_people_download_them_are_found(root, spelling):
    for name in RAW_FILES:
        path = root / "MNIST" / "raw" / name
        content, plain = path.read_bytes(), "plain" in spelling or "browser" in spelling
        path.unlink()
        SPELLINGS[spelling](root, name).write_bytes(content if plain else gzip.compress(content, 1))
    assert reads(root)


def test_a_compressed_file_under_a_plain_name_is_read(root):
    path = root / "MNIST" / "raw" / RAW_FILES[0]
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    assert reads(root)


@pytest.fixture
def read_only(root) -> Iterator[Path]:
    """The folder, compressed, where nothing can be written, be it by root."""
    compress(root, *RAW_FILES)
    mounted = not subprocess.run(["mount", "--bind", "-o", "ro", str(root), str(root)], capture_output=True).returncode
    if mounted:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(root)], capture_output=True)
    else:
        for folder in (root, root / "MNIST", root / "MNIST" / "raw"):
            folder.chmod(0o555)
    if os.access(root, os.W_OK):
        pytest.skip("this user writes everywhere")
    yield root
    if mounted:
        subprocess.run(["umount", str(root)], check=True)
    for folder in (root, root / "MNIST", root / "MNIST" / "raw"):
        folder.chmod(0o755)


def test_compressed_files_in_a_folder_that_cannot_be_written_are_read(read_only):
    before = files(read_only)
    assert reads(read_only)
    assert files(read_only) == before == {f"MNIST/raw/{name}.gz" for name in RAW_FILES}


@pytest.mark.parametrize("refused", ["lock", "file"])
def test_what_cannot_be_extracted_is_read_all_the_same(root, monkeypatch, refused):
    """As `read_only`, for a user who writes everywhere."""
    compress(root, *RAW_FILES)
    before = files(root)

    def refuse(*arguments, **settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mnist_files, "FileLock" if refused == "lock" else "atomic_write", refuse)
    assert reads(root)
    assert files(root) == before


def test_another_process_that_holds_the_lock_is_not_waited_for(root):
    compress(root, *RAW_FILES)
    before = files(root)
    with mnist_files.locked(root / "MNIST.lock"):
        assert reads(root)
    assert files(root) == before


def test_a_lock_that_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    """Its former holder removed it after this process had opened it."""
    path, taken = tmp_path / "a.lock", []

    class Late(mnist_files.FileLock):
        def acquire(self, *arguments, **settings):
            proxy = super().acquire(*arguments, **settings)
            taken.append(path.exists())
            if len(taken) == 1:
                path.unlink()
            return proxy

    monkeypatch.setattr(mnist_files, "FileLock", Late)
    with mnist_files.locked(path):
        assert path.exists()
    assert taken == [True, True]
    assert not path.exists()


DAMAGES = {
    "cut": lambda path: os.truncate(path, 5_000),
    "a byte changed": lambda path: path.write_bytes(path.read_bytes()[:300] + b"!" + path.read_bytes()[301:]),
    "empty": lambda path: path.write_bytes(b""),
    "a page of a web site": lambda path: path.write_text("<html>404</html>"),
    "something else compressed": lambda path: path.write_bytes(gzip.compress(b"something else")),
    "compressed twice": lambda path: path.write_bytes(gzip.compress(path.read_bytes())),
    "another file": lambda path: path.write_bytes(path.with_name(f"{RAW_FILES[2]}.gz").read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_one_line_and_nothing_is_written(root, damage):
    compress(root, *RAW_FILES)
    folder = root / "MNIST" / "raw"
    DAMAGES[damage](folder / f"{RAW_FILES[0]}.gz")
    before = files(root)
    said = rf"^the files in {re.escape(str(folder))} are damaged \({RAW_FILES[0]}\.gz: .*delete that folder"
    with pytest.raises(ValueError, match=said) as caught:
        torchvision_images("MNIST", str(root))
    assert "\n" not in str(caught.value)
    assert files(root) == before


@pytest.mark.parametrize("name", [RAW_FILES[0], f"{RAW_FILES[0]}.gz"])
@pytest.mark.parametrize(("make", "what"), [(Path.mkdir, "folder"), (os.mkfifo, "pipe or device")])
def test_what_is_no_file_is_one_line(root, name, make, what):
    (root / "MNIST" / "raw" / RAW_FILES[0]).unlink()
    make(root / "MNIST" / "raw" / name)
    with pytest.raises(ValueError, match=f"^{re.escape(str(root))}/MNIST/raw/{name} must be a file, got a {what}$"):
        torchvision_images("MNIST", str(root))


PREPARE = """
import sys, json
from torchvision import datasets
from discrete_latents.data import torchvision_images

datasets.MNIST.mirrors = ["http://127.0.0.1:9/"]
for _ in range(int(sys.argv[2])):
    splits = torchvision_images("MNIST", sys.argv[1])
    print(json.dumps([[len(part.grey), part.labels.unique().tolist()] for part in splits]))
"""


@pytest.mark.slow
def test_processes_that_extract_at_once_all_read_whole_files(root):
    compress(root, *RAW_FILES)
    command = [sys.executable, "-c", PREPARE, str(root), "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    expected = [[50_000, [1]], [10_000, [2]], [10_000, [3]]]
    for process in processes:
        assert [json.loads(line) for line in process.communicate(timeout=300)[0].splitlines()] == [expected] * 3
    assert files(root) == WHOLE | {f"MNIST/raw/{name}.gz" for name in RAW_FILES}
