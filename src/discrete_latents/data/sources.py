"""Where images come from. A source is called without arguments and gives `Splits` of uint8 grey images."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int, UInt8
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision import datasets

log = logging.getLogger(__name__)


class Images(NamedTuple):
    """A split: grey values 0 to 255 and class labels."""

    grey: UInt8[Tensor, "n C H W"]
    labels: Int[Tensor, " n"]


class Splits(NamedTuple):
    train: Images
    val: Images
    test: Images


def digits() -> Splits:
    """scikit-learn's 1,797 handwritten 8×8 digits (UCI), embedded in the package: 1,297 / 250 / 250.

    The order is shuffled once, by a fixed seed, since the file is grouped by writer.
    """
    data: Any = load_digits()
    grey = torch.from_numpy(data.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(data.target)
    order = torch.randperm(len(grey), generator=torch.Generator().manual_seed(0))
    train, val, test = order.split([len(grey) - 500, 250, 250])
    return Splits(*(Images(grey[part], labels[part]) for part in (train, val, test)))


def arrays(folder: str) -> Splits:
    """Images of your own, larger than memory if need be: NumPy files train_images.npy, uint8, (n, H, W) or
    (n, C, H, W), train_labels.npy, whole numbers (n,), and the same of val and test.

    They are mapped into memory: of grey or dynamically binarised images, batches are read from the disk as they are
    needed. Raises FileNotFoundError for a missing file, ValueError for one of another shape or type.
    """
    return Splits(*(mapped(Path(folder).expanduser(), split) for split in Splits._fields))


def mapped(folder: Path, split: str) -> Images:
    loaded = []
    for path in (folder / f"{split}_images.npy", folder / f"{split}_labels.npy"):
        try:
            loaded.append(np.load(path, mmap_mode="c"))  # copied where written to, which nothing does
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path} is missing; source.folder must hold it") from error
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise ValueError(f"{path} is not a NumPy file that can be mapped ({error})") from error
    images, labels = loaded
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"{split}_images.npy must be uint8 (n, H, W) or (n, C, H, W), got {images.dtype} {images.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(f"{split}_labels.npy must be {len(images)} whole numbers, got {labels.dtype} {labels.shape}")
    grey = torch.from_numpy(images)
    return Images(grey if grey.dim() == 4 else grey.unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))


def torchvision_images(dataset: str, root: str) -> Splits:
    """A torchvision data set of the MNIST family, by class name: 50,000 / 10,000 (the last training images) /
    10,000. Downloaded into `root` where it is not there.

    Raises FileNotFoundError where it is neither there nor can be downloaded, ValueError where the files cannot
    be read; both say which folder.
    """
    if dataset not in FAMILY:
        raise ValueError(f"source.dataset must be one of {', '.join(FAMILY)}, got {dataset!r}")
    source: type[datasets.MNIST] = getattr(datasets, dataset)
    folder = Path(root).expanduser() / dataset / "raw"
    if not complete(folder):
        download(source, Path(root).expanduser(), folder)
    try:
        parts = [source(str(Path(root).expanduser()), train=train) for train in (True, False)]
        train, test = (Images(part.data.unsqueeze(1), part.targets) for part in parts)
        for part, count in ((train, 60_000), (test, 10_000)):
            if part.grey.shape != (count, 1, 28, 28) or part.labels.shape != (count,):
                raise ValueError(f"images {tuple(part.grey.shape)} with labels {tuple(part.labels.shape)}")
            if part.labels.max() > 9:
                raise ValueError(f"a label of {int(part.labels.max())}")
    except PermissionError as error:
        raise ValueError(f"the files in {folder} may not be read ({error})") from error
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise ValueError(
            f"the files in {folder} are damaged ({error}); delete that folder to download them anew"
        ) from error
    return Splits(
        Images(train.grey[:50_000], train.labels[:50_000]),
        Images(train.grey[50_000:], train.labels[50_000:]),
        test,
    )


FAMILY = ("MNIST", "FashionMNIST", "KMNIST")

RAW_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def download(source: type[datasets.MNIST], root: Path, folder: Path) -> None:
    """Downloads through torchvision, one process at a time. The files come to their folder when all four are there and
    whole: what is stopped on the way leaves none."""
    partial = root / f"{source.__name__}.partial"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{source.__name__}.lock"):
            if complete(folder):  # by another process, meanwhile
                return
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            try:
                log.info("Downloading %s to %s", source.__name__, folder)
                source(str(partial), download=True)
                folder.mkdir(parents=True, exist_ok=True)
                for name in RAW_FILES:
                    os.replace(partial / source.__name__ / "raw" / name, folder / name)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{source.__name__} is not in {folder} and cannot be downloaded ({' '.join(str(error).split())}); put "
            f"{', '.join(RAW_FILES)} there, or name the folder that holds {source.__name__}/raw with "
            "paths.data_dir=… or the variable DISCRETE_LATENTS_DATA; data=digits needs no files"
        ) from error


def complete(folder: Path) -> bool:
    """Whether all files of a data set are there."""
    return all((folder / name).is_file() for name in RAW_FILES)
