"""Omniglot as the papers on discrete latents have it: Burda's 28×28 version, one file in MATLAB's format."""

import logging
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from discrete_latents.atomic_write import atomic_write
from discrete_latents.data.mnist_files import check_file, locked
from discrete_latents.data.splits import Images, Splits

log = logging.getLogger(__name__)

FILE = "chardata.mat"
URL = f"https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/{FILE}"
SECONDS = 60
"""Without an answer, after which a download fails."""

VALIDATION = 1345
"""Of the training images, the last ones, as Tomczak, Welling 2018 have it: 23,000 / 1,345 / 8,070."""


def omniglot(root: str) -> Splits:
    """Burda, Grosse, Salakhutdinov 2016: grey 28×28 images of characters, the label is the alphabet. 24,345 training
    images, of which the last 1,345 are for validation, and 8,070 test images.

    `root` holds omniglot/chardata.mat, which is downloaded where it is missing. Raises FileNotFoundError where it
    cannot be, and ValueError for a file that is damaged or holds something else.
    """
    path = Path(root).expanduser() / "omniglot" / FILE
    if not path.exists():
        fetch(path)
    check_file(path)
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ValueError(f"{path} is read by scipy, which is not installed: pip install scipy") from error
    names = ("data", "target", "testdata", "testtarget")
    try:
        content: dict[str, Any] = loadmat(path, variable_names=names)
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise ValueError(f"{path} is not a MATLAB file that can be read ({' '.join(str(error).split())})") from error
    if missing := [name for name in names if name not in content]:
        raise ValueError(f"{path} must hold {', '.join(names)}; missing: {', '.join(missing)}")
    (x, labels), test = (read_part(path, content, prefix) for prefix in ("", "test"))
    if len(x) <= VALIDATION:
        raise ValueError(f"{path} must hold more than {VALIDATION} training images, got {len(x)}")
    train, val = (Images(x[part], labels[part]) for part in (slice(-VALIDATION), slice(-VALIDATION, None)))
    return Splits(train, val, Images(*test))


def read_part(path: Path, content: dict[str, Any], prefix: str) -> tuple[Tensor, Tensor]:
    """Images, whose columns follow one another in the file, as uint8; and the number of the alphabet of each."""
    grey, alphabets = content[f"{prefix}data"], content[f"{prefix}target"]
    if grey.shape[0] != 784 or alphabets.shape[1:] != grey.shape[1:]:
        raise ValueError(f"{path}: {prefix}data must be (784, n) and {prefix}target (50, n), got {grey.shape} and "
                         f"{alphabets.shape}")  # fmt: skip
    if not 0 <= grey.min() <= grey.max() <= 1:
        raise ValueError(f"{path}: {prefix}data must be from 0 to 1, got {grey.min():g} to {grey.max():g}")
    pixels = (grey.T.reshape(-1, 1, 28, 28).swapaxes(-1, -2) * 255).round().astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(alphabets.argmax(0)).long()


def fetch(path: Path) -> None:
    """Downloads the file, one process at a time; a download that is stopped leaves none."""

    def write(partial: Path) -> None:
        log.info("Downloading omniglot to %s", path)
        with urllib.request.urlopen(URL, timeout=SECONDS) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if not path.exists():  # by another process, meanwhile
                atomic_write(path, write)
    except OSError as error:
        raise FileNotFoundError(
            f"omniglot is not in {path.parent} and cannot be downloaded ({' '.join(str(error).split())}); put {FILE} "
            f"of {URL} there"
        ) from error
