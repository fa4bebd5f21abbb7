"""The bounds of the images that an evaluation has come to, in a file that outlives a killed process."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from discrete_latents.errors import UserError

MISSING = 0.0
"""Also what a file system fills a gap with."""
BYTES = 8


class KeptBounds:
    """A number for each image, in float64, in the order of the split.

    Every process of an evaluation writes the numbers of its own batches.

    Args:
        path: of the file, which is made with the first number.
        batch_size: of all batches but the last.

    Raises UserError for a link in the file's place.
    """

    def __init__(self, path: Path, batch_size: int) -> None:
        if path.is_symlink():
            raise UserError(f"{path} must be a file of the run, got a link")
        self.path = path
        self.batch_size = batch_size

    def read(self, first: int = 0, count: int = -1) -> np.ndarray:
        """The numbers of `count` images, or of all, as far as the file has them."""
        try:
            return np.fromfile(self.path, count=count, offset=BYTES * first)
        except FileNotFoundError:
            return np.empty(0)

    def __len__(self) -> int:
        """The images whose number is known."""
        return int(np.count_nonzero(known(self.read())))

    def __call__(self, number: int, count: int, compute: Callable[[], Tensor]) -> Tensor:
        """The numbers of the `count` images of batch `number`, (count,): those in the file, else what `compute`
        returns, which is written into it."""
        first = number * self.batch_size
        kept = self.read(first, count)
        if count and len(kept) == count and known(kept).all():
            return torch.from_numpy(kept)
        computed = compute()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        with self.path.open("r+b", buffering=0) as file:
            file.seek(BYTES * first)
            file.write(computed.double().cpu().numpy().tobytes())
        return computed

    def forget(self) -> None:
        """Deletes the file."""
        self.path.unlink(missing_ok=True)


def known(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (values != MISSING)
