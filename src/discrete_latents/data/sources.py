"""Where data come from. A source is called without arguments and returns `Splits` of images or vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from jaxtyping import Int, Shaped
from torch import Tensor

from discrete_latents.checks import whole
from discrete_latents.data.image_checks import check_label_layout, check_layout
from discrete_latents.data.mnist_files import FAMILY, check_file, read_mnist_files
from discrete_latents.data.splits import Images, Splits

DIGITS = Path(__file__).with_name("handwritten_digits.npz")
"""The test set of the UCI data set "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998,
doi.org/10.24432/C50P49, CC BY 4.0) with the values and in the order of scikit-learn's `load_digits`: `counts`, uint8,
(1797, 64), and `labels`, uint8, (1797,)."""

PHOTOGRAPHS = Path(__file__).with_name("photographs.npz")
"""Two photographs at half of their size, as scikit-learn has them in `load_sample_images`: `china`, uint8, (214, 320,
3), by danielbuechele (flickr.com/photos/danielbuechele/6061409035), and `flower`, the same, by vultilion
(flickr.com/photos/vultilion/6056698931), both CC BY 2.0. `python -m scripts.photographs` writes such a file."""

PATCH = 32
"""Pixels a side."""

TILES = 4, 6
"""Of a photograph, down and across."""

COLOURED = {"CIFAR10": ({"train": True}, {"train": False}), "SVHN": ({"split": "train"}, {"split": "test"})}
"""torchvision's classes of RGB images, and what chooses their training and test images."""

HELD_OUT = 5000
"""Of their training images, for validation."""


def digits() -> Splits:
    """1,797 handwritten 8×8 digits (UCI), part of this package: 1,297 / 250 / 250. Their levels 0 to 16 become grey."""
    return Splits(
        *(Images((x.view(-1, 1, 8, 8) * (255 / 16)).round().to(torch.uint8), labels) for x, labels in digit_counts())
    )


def digit_counts() -> Splits:
    """The same digits as vectors of 64 counts, int64: how many pixels of each 4×4 block of a 32×32 bitmap are on.

    The order is shuffled once, by a fixed seed, since the file is grouped by writer.
    """
    with np.load(DIGITS, allow_pickle=False) as file:
        counts, labels = (torch.from_numpy(file[name]).long() for name in ("counts", "labels"))
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(0))
    train, val, test = order.split([len(counts) - 500, 250, 250])
    return Splits(*(Images(counts[part], labels[part]) for part in (train, val, test)))


def patches(stride: int = 2) -> Splits:
    """Patches of 32×32 RGB pixels of two photographs, part of this package; the label is the photograph's number.

    Each photograph is cut into 4×6 tiles, of which every fifth is for validation and every fifth for testing. A patch
    lies within the tiles of one split: no pixel is in two splits. Patches are `stride` pixels apart, in an order
    shuffled once. Raises ValueError unless stride is a whole number of at least 1.
    """
    whole("source.stride", stride)
    with np.load(PHOTOGRAPHS, allow_pickle=False) as file:
        photographs = [torch.from_numpy(file[name]).movedim(-1, 0) for name in ("china", "flower")]
    found = [(cut(each, stride), split_of_patches(each, stride)) for each in photographs]
    splits = []
    for number in range(len(Splits._fields)):
        x = [all_of_one[split == number] for all_of_one, split in found]
        labels = torch.cat([torch.full((len(each),), photograph) for photograph, each in enumerate(x)])
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        splits.append(Images(torch.cat(x)[order], labels[order]))
    return Splits(*splits)


def split_of_patches(photograph: Shaped[Tensor, "C H W"], stride: int) -> Int[Tensor, " n"]:
    """The number of each patch's split: of five tiles in a row, one is for validation, one for testing. −1 where it
    has pixels of several."""
    down, right = (torch.arange(size) * count // size for size, count in zip(photograph.shape[1:], TILES, strict=True))
    of_pixels = torch.tensor([0, 1, 0, 2, 0], dtype=torch.int8)[(2 * down[:, None] + right) % 5]
    lowest, highest = cut(of_pixels.unsqueeze(0), stride).flatten(1).aminmax(dim=1)
    return torch.where(lowest == highest, lowest, -1)


def cut(image: Shaped[Tensor, "C H W"], stride: int) -> Shaped[Tensor, "n C h w"]:
    """All patches of an image, `stride` pixels apart."""
    return image.unfold(1, PATCH, stride).unfold(2, PATCH, stride).flatten(1, 2).movedim(1, 0).contiguous()


def arrays(folder: str) -> Splits:
    """Data of your own from NumPy files, which may be larger than memory: train_images.npy, (n, H, W) or (n, C, H, W),
    or vectors (n, D), train_labels.npy, whole numbers from 0, (n,), and the same of val and test.

    A labels file may be absent where the model uses no labels. Images are mapped into memory: those that are not
    binarised, or dynamically, are read from the disk batch by batch. Raises FileNotFoundError for a missing file,
    ValueError for one that holds no array, or one of another type or shape.
    """
    splits = []
    for split in Splits._fields:
        images, labels = (Path(folder).expanduser() / f"{split}_{part}.npy" for part in ("images", "labels"))
        mapped = map_array(images)
        check_layout(mapped.dtype, mapped.shape, images.name)
        # Another byte order is read at once: torch has only that of the machine.
        x, classes = torch.from_numpy(mapped.astype(mapped.dtype.newbyteorder("="), copy=False)), None
        if labels.exists():
            array = map_array(labels)
            check_label_layout(array.dtype, array.shape, labels.name, len(x))
            classes = torch.from_numpy(array.astype(np.int64))
        splits.append(Images(x.unsqueeze(1) if x.dim() == 3 else x, classes))
    return Splits(*splits)


def map_array(path: Path) -> np.memmap:
    """A NumPy file, mapped into memory; what is written to it does not reach the file.

    Raises FileNotFoundError for a missing file, ValueError for what is no file or holds no array of numbers.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; source.folder must hold it")
    check_file(path)
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # whatever a damaged file makes the reader raise
        said = " ".join(str(error).split())
        raise ValueError(f"{path} is not a NumPy file that can be mapped ({said})") from error
    if not isinstance(array, np.memmap):
        array.close()
        raise ValueError(f"{path} must be a .npy file of one array, got an .npz archive of {', '.join(array.files)}")
    return array


def torchvision_photographs(dataset: str, root: str) -> Splits:
    """CIFAR10 or SVHN, RGB images of 32×32 pixels, by the name of torchvision's class: the last 5,000 training images
    are for validation. Downloaded into `root` where they are missing.

    Raises FileNotFoundError where they are neither there nor can be downloaded, ValueError for another name.
    """
    if dataset not in COLOURED:
        raise ValueError(f"source.dataset must be one of {', '.join(COLOURED)}, got {dataset!r}")
    folder = Path(root).expanduser()
    read = []
    for words in COLOURED[dataset]:
        try:
            images: Any = getattr(torchvision.datasets, dataset)(str(folder), download=True, **words)
        except (OSError, RuntimeError, ImportError) as error:
            said = " ".join(str(error).split())
            raise FileNotFoundError(f"{dataset} is not in {folder} and cannot be downloaded ({said})") from error
        x = torch.from_numpy(np.asarray(images.data))
        labels = images.targets if dataset == "CIFAR10" else images.labels
        read.append(Images(x.movedim(-1, 1) if x.shape[-1] == 3 else x, torch.as_tensor(np.asarray(labels)).long()))
    (x, labels), test = read
    return Splits(Images(x[:-HELD_OUT], labels[:-HELD_OUT]), Images(x[-HELD_OUT:], labels[-HELD_OUT:]), test)


def torchvision_images(dataset: str, root: str) -> Splits:
    """A data set of the MNIST family, by the name of torchvision's class: 50,000 / 10,000 (the last training images) /
    10,000. `root` holds its files, plain or as .gz, in DATASET/raw; they are downloaded where one is missing.

    Raises FileNotFoundError where they are neither there nor can be downloaded, ValueError for files that cannot be
    read or are damaged, or a dataset of another name.
    """
    if dataset not in FAMILY:
        raise ValueError(f"source.dataset must be one of {', '.join(FAMILY)}, got {dataset!r}")
    train_images, train_labels, test_images, test_labels = read_mnist_files(dataset, Path(root).expanduser())
    grey, labels = train_images.unsqueeze(1), train_labels.long()
    return Splits(
        Images(grey[:50_000], labels[:50_000]),
        Images(grey[50_000:], labels[50_000:]),
        Images(test_images.unsqueeze(1), test_labels.long()),
    )
