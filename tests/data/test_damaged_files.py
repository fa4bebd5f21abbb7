"""Files, connections and disks that fail while data is prepared: nothing half done stays, and the next attempt finds a
clean folder. The mirror is a server of this machine.
"""

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision import datasets

from discrete_latents.data import torchvision_images
from discrete_latents.data.mnist_files import RAW_FILES
from tests.data.test_sources import write_idx, write_mnist

ARCHIVES = [f"{name}.gz" for name in RAW_FILES]

PREPARE = """
import json, os, sys
from torchvision import datasets
from discrete_latents.data import torchvision_images

datasets.MNIST.mirrors, datasets.MNIST.resources = json.loads(os.environ["MIRROR"])
print(len(torchvision_images("MNIST", sys.argv[1]).train.grey))
"""


@dataclass
class Mirror:
    """A server of the archives of MNIST, whose images are black. cut: how much of an archive is sent; announced: though
    all was to come. Where `stalls_at` is asked for, `stalled` is set, and it waits for `released`."""

    archives: dict[str, bytes]
    url: str = ""
    cut: dict[str, int] = field(default_factory=dict)
    announced: bool = False
    stalls_at: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def known(self) -> tuple[list[str], list[tuple[str, str]]]:
        """What torchvision knows of a mirror: where it is, and the sum of each archive."""
        return [self.url], [(name, hashlib.md5(content).hexdigest()) for name, content in self.archives.items()]

    def start(self, root: Path) -> subprocess.Popen[str]:
        """A process that prepares the data in `root`."""
        environment = os.environ | {"MIRROR": json.dumps(self.known), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PREPARE, str(root)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, bytes]:
    folder = write_mnist(tmp_path_factory.mktemp("archives"))
    return {f"{name}.gz": gzip.compress((folder / name).read_bytes(), 1) for name in RAW_FILES}


@pytest.fixture
def mirror(archives, monkeypatch) -> Iterator[Mirror]:
    served = Mirror(archives)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            name = self.path.strip("/")
            served.asked[name] += 1
            content = served.archives[name]
            part = content[: served.cut.get(name, len(content))]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content if served.announced else part)))
            self.end_headers()
            if name == served.stalls_at:
                served.stalled.set()
                served.released.wait(60)
            self.wfile.write(part)

        def log_message(self, *_) -> None: ...

        def handle(self) -> None:
            with suppress(ConnectionError):  # the other end was killed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/"
    urls, sums = served.known
    monkeypatch.setattr(datasets.MNIST, "mirrors", urls)
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield served
    served.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def files(root: Path) -> set[str]:
    """What is below a folder."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


WHOLE = {f"MNIST/raw/{name}" for name in RAW_FILES}


def mount(folder: Path, *options: str) -> bool:
    """A small file system of its own in a folder, where this process may make one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    try:
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 12 MB: the archives fit, the images do not."""
    if not mount(tmp_path / "disk", "size=12m"):
        pytest.skip("a small disk takes the right to mount one")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.fixture
def read_only(tmp_path) -> Iterator[Path]:
    """A folder that cannot be written, be it by root."""
    folder = tmp_path / "read only"
    mounted = mount(folder, "ro")
    folder.chmod(0o555) if not mounted else None
    if not mounted and os.access(folder, os.W_OK):
        pytest.skip("this user writes everywhere")
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
    else:
        folder.chmod(0o755)


def prepared(root: Path) -> bool:
    """Prepares the data in this process; whether all is there, and nothing else."""
    assert len(torchvision_images("MNIST", str(root)).train.grey) == 50_000
    return files(root) == WHOLE


def refusal(root: Path) -> str:
    """What is said where the data cannot be prepared."""
    with pytest.raises(FileNotFoundError, match=re.escape(f"MNIST is not in {root}/MNIST/raw and cannot be")) as caught:
        torchvision_images("MNIST", str(root))
    assert "\n" not in str(caught.value)
    assert "paths.data_dir" in str(caught.value)
    return str(caught.value)


def test_a_download_leaves_the_files_alone(mirror, tmp_path):
    assert prepared(tmp_path)
    assert sorted(mirror.asked) == sorted(ARCHIVES)


@pytest.mark.parametrize("announced", [False, True], ids=["shorter", "cut off"])
def test_a_download_that_is_not_whole_is_removed_and_can_be_repeated(mirror, tmp_path, announced):
    mirror.cut, mirror.announced = {ARCHIVES[2]: 50}, announced
    assert ARCHIVES[2] in refusal(tmp_path)
    assert files(tmp_path) == set()
    mirror.cut = {}
    assert prepared(tmp_path)


def test_a_mirror_that_gives_something_else_is_not_believed(mirror, tmp_path):
    mirror.archives = mirror.archives | {ARCHIVES[0]: gzip.compress(b"another file")}
    assert "corrupted" in refusal(tmp_path)
    assert files(tmp_path) == set()


def test_a_missing_file_is_fetched_and_the_others_are_whole_at_any_time(mirror, tmp_path):
    folder = write_mnist(tmp_path)
    (folder / RAW_FILES[3]).unlink()
    mirror.cut = {ARCHIVES[3]: 50}
    assert ARCHIVES[3] in refusal(tmp_path)
    assert files(tmp_path) == WHOLE - {f"MNIST/raw/{RAW_FILES[3]}"}
    mirror.cut = {}
    assert prepared(tmp_path)


def test_a_full_disk_is_said_and_left_as_it_was(mirror, small_disk):
    assert "No space left on device" in refusal(small_disk)
    assert files(small_disk) == set()


def test_a_folder_that_cannot_be_written_is_said(mirror, read_only):
    assert str(read_only) in refusal(read_only)
    assert not mirror.asked


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_download_that_is_stopped_is_done_again(mirror, tmp_path, how):
    mirror.stalls_at = ARCHIVES[3]
    process = mirror.start(tmp_path)
    assert mirror.stalled.wait(60)
    process.send_signal(how)
    process.communicate(timeout=180)
    assert process.returncode != 0
    assert not files(tmp_path) & WHOLE
    if how == signal.SIGINT:
        assert files(tmp_path) == set()
    mirror.released.set()
    assert prepared(tmp_path)


@pytest.mark.slow
def test_processes_that_prepare_the_same_data_download_it_once(mirror, tmp_path):
    mirror.stalls_at = ARCHIVES[0]
    processes = [mirror.start(tmp_path) for _ in range(3)]
    assert mirror.stalled.wait(60)
    mirror.released.set()
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["50000"] * 3
    assert max(mirror.asked.values()) <= 2  # torchvision asks whether there is a redirection first
    assert files(tmp_path) == WHOLE


def test_data_in_a_folder_that_cannot_be_written_is_read(tmp_path):
    """As on a cluster's shared disk: reading takes no lock."""
    folder = write_mnist(tmp_path)
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", str(tmp_path), str(tmp_path)], capture_output=True)
    if mounted.returncode:
        tmp_path.chmod(0o555)
    try:
        assert len(torchvision_images("MNIST", str(tmp_path)).train.grey) == 50_000
        assert not (tmp_path / "MNIST.lock").exists()
    finally:
        tmp_path.chmod(0o755) if mounted.returncode else subprocess.run(["umount", str(tmp_path)], check=True)
    assert folder.is_dir()


def swap(folder: Path, first: str, second: str) -> None:
    content = (folder / first).read_bytes()
    (folder / first).write_bytes((folder / second).read_bytes())
    (folder / second).write_bytes(content)


DAMAGES = {
    "still compressed": lambda folder: (folder / RAW_FILES[0]).write_bytes(gzip.compress(b"images")),
    "training and test images swapped": lambda folder: swap(folder, RAW_FILES[0], RAW_FILES[2]),
    "images and labels swapped": lambda folder: swap(folder, RAW_FILES[0], RAW_FILES[1]),
    "labels beyond 9": lambda folder: write_idx(folder, RAW_FILES[1], (60_000,), b"\0" * 59_999 + b"\x0a"),
    "one byte missing": lambda folder: os.truncate(folder / RAW_FILES[2], 16 + 10_000 * 784 - 1),
    "bytes to spare": lambda folder: os.truncate(folder / RAW_FILES[2], 16 + 10_000 * 784 + 1),
    "numbers of another kind": lambda folder: (folder / RAW_FILES[3]).write_bytes(
        bytes([0, 0, 0x0D, 1]) + (10_000).to_bytes(4, "big") + bytes(40_000)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_name_their_folder_and_stay(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    folder = write_mnist(tmp_path)
    DAMAGES[damage](folder)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=f"^the files in {re.escape(str(folder))} are damaged .*delete that") as caught:
        torchvision_images("MNIST", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before
