"""Sources: the digits and torchvision's data sets, their splits, and what is said where files are missing."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision import datasets

from discrete_latents.data import digit_counts, digits, patches, sources, torchvision_images, torchvision_photographs


@pytest.fixture
def _no_network(monkeypatch):
    """The mirrors of MNIST are a port of this machine that nothing listens on."""
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def write_idx(folder, name, shape, content=None):
    """A well-formed idx file, of zeros unless its content is given."""
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    (folder / name).write_bytes(header + (content or bytes(torch.Size(shape).numel())))


def write_mnist(root):
    """A data set of black images in the layout of MNIST; labels 1 for training, 2 for the last 10,000 of those,
    3 for testing."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    labels = {"train": b"\1" * 50_000 + b"\2" * 10_000, "t10k": b"\3" * 10_000}
    for part, content in labels.items():
        write_idx(folder, f"{part}-images-idx3-ubyte", (len(content), 28, 28))
        write_idx(folder, f"{part}-labels-idx1-ubyte", (len(content),), content)
    return folder


def test_the_digits_are_split_1297_250_250():
    splits = digits()
    assert [tuple(part.grey.shape) for part in splits] == [(1297, 1, 8, 8), (250, 1, 8, 8), (250, 1, 8, 8)]
    assert [tuple(part.labels.shape) for part in splits] == [(1297,), (250,), (250,)]
    assert all(part.grey.dtype == torch.uint8 for part in splits)


def test_every_split_of_the_digits_has_every_label_and_the_whole_range_of_grey():
    for part in digits():
        assert part.labels.unique().tolist() == list(range(10))
        assert (part.grey.min(), part.grey.max()) == (0, 255)


def test_the_splits_of_the_digits_are_disjoint_and_complete():
    """Each image once, with its own label."""
    data = load_digits()
    expected = torch.tensor(data.images * 255 / 16).round().flatten(1).long()
    expected = torch.cat([expected, torch.tensor(data.target).unsqueeze(1)], 1)
    splits = digits()
    got = torch.cat([torch.cat([part.grey.flatten(1).long(), part.labels.unsqueeze(1)], 1) for part in splits])
    assert sorted(got.tolist()) == sorted(expected.tolist())


def test_the_digits_of_the_package_are_those_of_scikit_learn_in_one_order():
    """Figures of `data=digits` are on these very images, in this order."""
    data = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    grey, counts = digits(), digit_counts()
    expected = torch.from_numpy(data.images)[order].unsqueeze(1)
    assert torch.equal(torch.cat([part.x for part in grey]), (expected * (255 / 16)).round().to(torch.uint8))
    assert torch.equal(torch.cat([part.x for part in counts]), expected.flatten(1).long())
    for splits in (grey, counts):
        assert torch.equal(torch.cat([part.labels for part in splits]), torch.from_numpy(data.target)[order])


def test_no_module_of_the_package_needs_scikit_learn_or_scipy():
    """`data=omniglot` says so where it is not installed."""
    sources = (Path(__file__).parents[2] / "src").rglob("*.py")
    needing = [path for path in sources if re.search(r"^\s*(from|import) (sklearn|scipy)", path.read_text(), re.M)]
    assert [path.name for path in needing] == ["omniglot_file.py"]
    assert not re.search(r"^(from|import) scipy", needing[0].read_text(), re.M)


def test_the_digits_are_the_same_every_time_and_draw_no_noise():
    noise = torch.get_rng_state()
    first = digits()
    assert torch.equal(torch.get_rng_state(), noise)
    torch.manual_seed(17)
    for part, again in zip(first, digits(), strict=True):
        assert torch.equal(part.grey, again.grey)
        assert torch.equal(part.labels, again.labels)


def test_the_digits_are_not_in_the_files_order():
    """It is grouped by writer: its last 250 would be other hands than the training images."""
    assert not torch.equal(digits().test.labels, torch.tensor(load_digits().target[-250:]))


@pytest.mark.mnist
def test_mnist_is_split_50000_10000_10000_with_the_last_training_images_for_validation(mnist_root):
    splits = torchvision_images("MNIST", str(mnist_root))
    assert [len(part.grey) for part in splits] == [len(part.labels) for part in splits] == [50_000, 10_000, 10_000]
    assert {tuple(part.grey.shape[1:]) for part in splits} == {(1, 28, 28)}
    assert all(part.grey.dtype == torch.uint8 for part in splits)
    raw = mnist_root / "MNIST" / "raw"
    assert torch.equal(splits.val.grey.flatten(), last_bytes(raw / "train-images-idx3-ubyte", 10_000 * 784))
    assert torch.equal(splits.val.labels, last_bytes(raw / "train-labels-idx1-ubyte", 10_000).long())
    assert torch.equal(splits.test.grey.flatten(), last_bytes(raw / "t10k-images-idx3-ubyte", 10_000 * 784))
    assert torch.equal(splits.test.labels, last_bytes(raw / "t10k-labels-idx1-ubyte", 10_000).long())


def last_bytes(path, count):
    return torch.frombuffer(bytearray(path.read_bytes()[-count:]), dtype=torch.uint8)


@pytest.mark.usefixtures("_no_network")
def test_files_that_are_there_are_read_without_a_network(tmp_path):
    write_mnist(tmp_path)
    splits = torchvision_images("MNIST", str(tmp_path))
    assert [len(part.grey) for part in splits] == [50_000, 10_000, 10_000]
    assert [part.labels.unique().tolist() for part in splits] == [[1], [2], [3]]


@pytest.mark.usefixtures("_no_network")
def test_a_home_directory_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_mnist(tmp_path / "images")
    assert len(torchvision_images("MNIST", "~/images").train.grey) == 50_000


@pytest.mark.usefixtures("_no_network")
def test_missing_files_without_a_network_name_the_folder_and_the_setting(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        torchvision_images("MNIST", str(tmp_path / "nowhere"))
    message = str(error.value)
    assert str(tmp_path / "nowhere" / "MNIST" / "raw") in message
    assert "paths.data_dir" in message
    assert "\n" not in message


@pytest.mark.usefixtures("_no_network")
def test_one_missing_file_of_four_is_missing(tmp_path):
    folder = write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder))):
        torchvision_images("MNIST", str(tmp_path))


@pytest.mark.usefixtures("_no_network")
def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "file" / "MNIST" / "raw"))):
        torchvision_images("MNIST", str(tmp_path / "file"))


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


DAMAGES = {
    "images cut": lambda folder: cut(folder / "train-images-idx3-ubyte", 10_000_000),
    "labels cut": lambda folder: cut(folder / "t10k-labels-idx1-ubyte", 5_000),
    "empty": lambda folder: cut(folder / "train-labels-idx1-ubyte", 0),
    "a page of a web site": lambda folder: (folder / "t10k-images-idx3-ubyte").write_text("<html>404</html>"),
    "fewer images": lambda folder: write_idx(folder, "train-images-idx3-ubyte", (100, 28, 28)),
    "smaller images": lambda folder: write_idx(folder, "train-images-idx3-ubyte", (60_000, 8, 8)),
    "fewer labels": lambda folder: write_idx(folder, "train-labels-idx1-ubyte", (59_999,)),
    "fewer test labels": lambda folder: write_idx(folder, "t10k-labels-idx1-ubyte", (100,)),
    "smaller test images": lambda folder: write_idx(folder, "t10k-images-idx3-ubyte", (10_000, 8, 8)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_name_their_folder_and_what_to_do(damage, tmp_path):
    folder = write_mnist(tmp_path)
    DAMAGES[damage](folder)
    with pytest.raises(ValueError, match=f"^the files in {re.escape(str(folder))} are damaged .*delete that folder"):
        torchvision_images("MNIST", str(tmp_path))


# Patches of photographs


def test_no_pixel_of_the_photographs_is_in_two_splits(monkeypatch, tmp_path):
    """Of photographs in which every pixel is another: its number, in base 256."""
    numbers = np.arange(214 * 320)
    unlike = [np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536 + 2 * k], -1) for k in range(2)]
    shaped = [each.astype(np.uint8).reshape(214, 320, 3) for each in unlike]
    np.savez(tmp_path / "p.npz", china=shaped[0], flower=shaped[1])
    monkeypatch.setattr(sources, "PHOTOGRAPHS", tmp_path / "p.npz")
    base = torch.tensor([1, 256, 65536]).view(1, 3, 1, 1)
    pixels = [{*(part.x.long() * base).sum(1).flatten().tolist()} for part in patches()]
    assert all(pixels)
    assert not pixels[0] & pixels[1]
    assert not pixels[0] & pixels[2]
    assert not pixels[1] & pixels[2]


def test_patches_are_rgb_of_both_photographs():
    splits = patches()
    assert [tuple(part.x.shape) for part in splits] == [(8102, 3, 32, 32), (1254, 3, 32, 32), (1014, 3, 32, 32)]
    assert all(part.x.dtype == torch.uint8 for part in splits)
    assert all(part.labels.bincount().tolist() == [len(part.x) // 2] * 2 for part in splits)
    assert torch.equal(patches().test.x, splits.test.x)


def test_a_stride_is_at_least_1():
    with pytest.raises(ValueError, match=r"source.stride must be a whole number of at least 1, got 0"):
        patches(0)


class Coloured:
    """Stands for torchvision's CIFAR10 and SVHN: 6,000 training images and 10 test images."""

    def __init__(self, root, download, train=None, split=None):
        assert download
        of_training = train or split == "train"
        count, shape = (6000 if of_training else 10), ((32, 32, 3) if split is None else (3, 32, 32))
        self.data = np.zeros((count, *shape), np.uint8)
        self.data[..., 0] = 7
        self.targets = self.labels = [3] * count


@pytest.mark.parametrize("dataset", ["CIFAR10", "SVHN"])
def test_coloured_images_have_their_channels_first(dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(f"torchvision.datasets.{dataset}", Coloured)
    splits = torchvision_photographs(dataset, str(tmp_path))
    assert [tuple(part.x.shape) for part in splits] == [(1000, 3, 32, 32), (5000, 3, 32, 32), (10, 3, 32, 32)]
    assert splits.val.labels.unique().tolist() == [3]
    assert int(splits.test.x[0, 0, 5, 5]) == (7 if dataset == "CIFAR10" else 0)


def test_coloured_images_that_cannot_be_had_are_one_line(monkeypatch, tmp_path):
    def refused(*_, **__):
        raise RuntimeError("no\nnetwork")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", refused)
    with pytest.raises(FileNotFoundError, match=r"CIFAR10 is not in .* and cannot be downloaded \(no network\)"):
        torchvision_photographs("CIFAR10", str(tmp_path))
    with pytest.raises(ValueError, match=r"source.dataset must be one of CIFAR10, SVHN, got 'ImageNet'"):
        torchvision_photographs("ImageNet", str(tmp_path))
