"""The four files of a data set of the MNIST family: found, read, extracted, or downloaded through torchvision.

Files that are all there are never downloaded. Compressed ones are extracted beside themselves, or, where the folder
cannot be written, decompressed into memory at every start.
"""

import gzip
import logging
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from discrete_latents.atomic_write import atomic_write

log = logging.getLogger(__name__)

FAMILY = ("MNIST", "FashionMNIST", "KMNIST")

SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
RAW_FILES = list(SHAPES)
GZIP = b"\x1f\x8b"


def read_mnist_files(dataset: str, root: Path) -> list[Tensor]:
    """Training images (60000, 28, 28), training labels (60000,), test images and test labels.

    dataset: one of FAMILY. root: the folder that holds DATASET/raw. Downloads the files where one is missing. Raises
    FileNotFoundError where that cannot be, ValueError for files that cannot be read or are not those of the data set.
    """
    folder = root / dataset / "raw"
    found = raw_files(folder)
    if len(found) < len(RAW_FILES):
        download(dataset, root, folder)
        found = raw_files(folder)
    content: dict[str, Tensor] = {}
    for name, path in found.items():
        try:
            content[name] = read_idx(path, SHAPES[name])
        except PermissionError as error:
            raise ValueError(f"the files in {path.parent} may not be read ({error})") from error
        except (OSError, EOFError, ValueError) as error:  # EOFError: of a compressed file that is cut
            said = " ".join(str(error).split())
            damaged = f"the files in {path.parent} are damaged ({path.name}: {said})"
            raise ValueError(f"{damaged}; delete that folder to download them anew") from error
    compressed = [name for name, path in found.items() if path.suffix == ".gz"]
    if compressed:
        # The next run then need not decompress. Not where the folder cannot be written, or another process is at it.
        with suppress(OSError), locked(root / f"{dataset}.lock", timeout=0):
            for name in compressed:
                atomic_write(folder / name, idx_header(SHAPES[name]) + content[name].numpy().tobytes())
    return [content[name] for name in RAW_FILES]


def raw_files(folder: Path) -> dict[str, Path]:
    """The path of each file that is there, by its name in RAW_FILES: in `folder` or the folder above it, plain or as
    .gz, also as train-images.idx3-ubyte, which is its name on some sites.

    Raises ValueError for a folder, a pipe or the like in place of a file.
    """
    found = {}
    for name in RAW_FILES:
        spelled = (name, name.replace("-idx", ".idx"))
        places = [
            place / f"{file}{end}" for end in ("", ".gz") for place in (folder, folder.parent) for file in spelled
        ]
        for path in places:
            if path.exists():
                check_file(path)
                found[name] = path
                break
    return found


def check_file(path: Path) -> None:
    """Raises ValueError for a folder, a pipe or the like."""
    if not path.is_file():
        raise ValueError(f"{path} must be a file, got a {'folder' if path.is_dir() else 'pipe or device'}")


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The content of an idx file of unsigned bytes, plain or gzip. Raises ValueError unless it has this shape."""
    header = idx_header(shape)
    most = len(header) + math.prod(shape) + 1  # a byte too many says that there are more, be it terabytes
    content = np.fromfile(path, np.uint8, most)
    if content[:2].tobytes() == GZIP:
        with gzip.open(path) as file:
            content = np.frombuffer(bytearray(file.read(most)), np.uint8)
    start = content[: len(header)].tobytes()
    if start != header:
        raise ValueError(f"it must begin as unsigned bytes of shape {shape} do, {header.hex()}, got {start.hex()}")
    if len(content) != most - 1:
        got = f"{len(content)}" if len(content) < most else "more"
        raise ValueError(f"it must have {most - 1} bytes, got {got}")
    tensor = torch.from_numpy(content[len(header) :].reshape(shape))
    if len(shape) == 1 and tensor.max() > 9:
        raise ValueError(f"its labels must be from 0 to 9, got {int(tensor.max())}")
    return tensor


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of an idx file (LeCun et al., yann.lecun.com/exdb/mnist): two zeros, 8 for unsigned bytes, the
    number of dimensions, and each size as a big-endian 32-bit number."""
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()


def download(dataset: str, root: Path, folder: Path) -> None:
    """Downloads the four files through torchvision, one process at a time. They come to their folder when all are there
    and whole; a download that is stopped leaves none."""
    from torchvision import datasets  # takes a while to import, and files that are there need none of it

    source: type[datasets.MNIST] = getattr(datasets, dataset)
    partial = root / f"{dataset}.partial"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f"{dataset}.lock"):
            if len(raw_files(folder)) == len(RAW_FILES):  # by another process, meanwhile
                return
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            try:
                log.info("Downloading %s to %s", dataset, folder)
                source(str(partial), download=True)
                folder.mkdir(parents=True, exist_ok=True)
                for name in RAW_FILES:
                    os.replace(partial / dataset / "raw" / name, folder / name)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"{dataset} is not in {folder} and cannot be downloaded ({' '.join(str(error).split())}); put "
            f"{', '.join(RAW_FILES)} there, plain or as .gz, or name the folder that holds {dataset}/raw with "
            "paths.data_dir=… or the variable DISCRETE_LATENTS_DATA; data=digits needs no files"
        ) from error


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Holds a lock file, which is removed in the end. Raises OSError where it cannot be made, or where another process
    holds it for longer than `timeout` seconds, if that is not negative."""
    while True:
        with FileLock(path, timeout=timeout):
            # Who opened the file just before its former holder removed it has locked no file that others see.
            if path.exists():
                try:
                    yield
                finally:
                    with suppress(OSError):
                        path.unlink()
                return
