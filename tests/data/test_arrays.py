"""Images of one's own from NumPy files, mapped into memory."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from discrete_latents.data import ImageData, arrays

SPLITS = {"train": 40, "val": 10, "test": 10}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in SPLITS.items():
        np.save(tmp_path / f"{split}_images.npy", random.integers(0, 256, (count, 5, 4), dtype=np.uint8))
        np.save(tmp_path / f"{split}_labels.npy", random.integers(0, 3, count))
    return tmp_path


def test_the_images_and_labels_are_those_of_the_files(folder):
    splits = arrays(str(folder))
    for name, count in SPLITS.items():
        images = getattr(splits, name)
        assert images.grey.shape == (count, 1, 5, 4)
        assert torch.equal(images.grey.squeeze(1), torch.from_numpy(np.load(folder / f"{name}_images.npy")))
        assert torch.equal(images.labels, torch.from_numpy(np.load(folder / f"{name}_labels.npy")))


def test_images_may_have_channels(folder):
    np.save(folder / "val_images.npy", np.zeros((10, 3, 5, 4), dtype=np.uint8))
    assert arrays(str(folder)).val.grey.shape == (10, 3, 5, 4)


def test_the_files_stay_as_they_are(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    splits = arrays(str(folder))
    splits.train.grey.zero_()
    data = ImageData("arrays", partial(arrays, str(folder)), "fixed", batch_size=10)
    data.setup()
    assert len(list(data.batches("train", 10, shuffled=True))) == 4
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val_images.npy", np.zeros((10, 5, 4), dtype=complex), "must be numbers"),
        ("val_images.npy", np.zeros(10, dtype=np.uint8), "must be images"),
        ("test_labels.npy", np.zeros(9, dtype=np.int64), "must be 10 whole numbers"),
        ("test_labels.npy", np.zeros(10), "must be 10 whole numbers"),
        ("train_images.npy", b"not an array", "can be mapped"),
        ("train_images.npy", None, "is missing"),
    ],
)
def test_a_file_that_cannot_serve_is_named(folder, name, content, message):
    (folder / name).unlink()
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif content is not None:
        np.save(folder / name, content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"{name} .*({message})"):
        arrays(str(folder))


LARGE = """
import sys
from functools import partial

from discrete_latents.data import ImageData, arrays

def own():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon"))) // 1024

before = peak = own()
data = ImageData("arrays", partial(arrays, sys.argv[1]), "dynamic")
data.setup()
data.mean_image
for number, _ in zip(range(200), data.batches("train", 100, shuffled=True)):
    peak = max(peak, own())
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process its memory")
def test_dynamic_images_take_no_memory_of_their_own(tmp_path):
    """400 MB of them, in a process of its own."""
    for split, count in {"train": 500_000, "val": 10, "test": 10}.items():
        shape = (count, 28, 28)
        images = np.lib.format.open_memmap(tmp_path / f"{split}_images.npy", "w+", np.uint8, shape)  # a sparse file
        images[0] = np.arange(28)
        images[-1] = 255
        images.flush()
        np.save(tmp_path / f"{split}_labels.npy", np.zeros(count, dtype=np.int64))
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 120
