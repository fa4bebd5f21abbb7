"""Batches that are not made here: DataLoaders and LightningDataModules of the user's own."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils.data import DataLoader

from discrete_latents.data.image_checks import check_x, dtype_name, kind_of_value, split_name
from discrete_latents.data.kinds import Values, base_rate, reader, split_values

LOOKED_AT = 10_000
"""Training images that are read before training, for their shape, values and mean: a stream has no end."""


class Loaders(pl.LightningDataModule):
    """The user's own loaders of batches.

    train, val, test: DataLoaders, or other iterables of batches. None: training without validation, or without a test.
    """

    def __init__(self, train: Any, val: Any = None, test: Any = None) -> None:
        super().__init__()
        for name, loader in {"train": train, "val": val, "test": test}.items():
            if not (hasattr(loader, "__iter__") or (loader is None and name != "train")) or isinstance(loader, str):
                raise ValueError(f"{name} must be a DataLoader, or another iterable of batches, got {loader!r}")
            if loader is not None:  # Lightning validates and tests where there is such a method
                setattr(self, f"{name}_dataloader", lambda loader=loader: loader)


def as_data_module(made: Any) -> pl.LightningDataModule:
    """What `data._target_` made, as a LightningDataModule: itself, or loaders by the names train, val and test, in
    this order, or one DataLoader for training.

    Raises TypeError for anything else.
    """
    if isinstance(made, pl.LightningDataModule):
        return made
    if isinstance(made, DataLoader):
        return Loaders(made)
    if isinstance(made, Mapping) and "train" in made and made.keys() <= {"train", "val", "test"}:
        return Loaders(**made)
    if isinstance(made, tuple) and 1 <= len(made) <= 3:
        return Loaders(*made)
    raise TypeError(
        f"data must be a LightningDataModule, or DataLoaders as train, val and test, by its _target_, got "
        f"{kind_of_value(made)}"
    )


def has_loader(data: pl.LightningDataModule, split: str) -> bool:
    """Whether a data module has batches of a split."""
    return is_overridden(f"{split}_dataloader", data)


class BatchReader:
    """Reads the batches of a foreign loader as models of this package take them: (x, labels).

    A batch is x, or a list or tuple of x and class labels (further parts are left out). Images of one channel may be
    (n, H, W). Without labels they are -1. Raises ValueError for other batches.

    shape: of one x. kind: of its values, a key of `likelihoods.KINDS`.
    """

    def __init__(self, shape: tuple[int, ...], kind: str) -> None:
        self.shape = shape
        self.read = reader(kind)

    def __call__(self, batch: Any) -> tuple[Tensor, Tensor]:
        x, labels = split_batch(batch)
        if x.dim() == 3 and len(self.shape) == 3:
            x = x.unsqueeze(1)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x of a batch must be {self.shape} each, as in the first one, got {tuple(x.shape[1:])}")
        return self.read(x), torch.full((len(x),), -1, device=x.device) if labels is None else labels


def split_batch(batch: Any) -> tuple[Tensor, Tensor | None]:
    """x and the labels of a batch. Raises ValueError for a batch of another form."""
    x = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(x, Tensor):
        raise ValueError(f"a batch must be a tensor x, or (x, labels), for a model of this package, got {form(batch)}")
    labels = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
        return x, None
    return x, labels.long()


def form(batch: Any) -> str:
    """What a batch is made of, as "(str, Tensor)"."""
    if isinstance(batch, list | tuple):
        return f"({', '.join(kind_of_value(part) for part in batch)})"
    return f"a dict of {', '.join(map(str, batch))}" if isinstance(batch, dict) else kind_of_value(batch)


class Survey:
    """What models of this package ask of data, found from the first training batches of a foreign data module.

    Has the methods and properties of `ImageData` with the same names. Raises ValueError for batches that no such model
    takes.
    """

    def __init__(self, data: pl.LightningDataModule) -> None:
        found: list[Tensor] = []
        self.batch: Any = None
        for batch in batches(data, "train"):
            self.batch = batch if self.batch is None else self.batch
            found.append(split_batch(batch)[0])
            if sum(map(len, found)) >= LOOKED_AT:
                break
        if not found:
            raise ValueError("the train loader must have a batch, got none")
        try:
            x = torch.cat(found)
        except (RuntimeError, TypeError) as error:
            shapes = sorted({f"{dtype_name(x.dtype)} {tuple(x.shape[1:])}" for x in found})
            raise ValueError(f"x must have one type and shape in all batches, got {' and '.join(shapes)}") from error
        name = f"the first {split_name('train', x)}"
        self.x = check_x(x, name)
        try:
            self.values: Values = split_values(self.x, name, None)
        except ValueError as error:  # which tells how to set data.kind
            allowed = "loaders give uint8, floats in [0, 1], standardised floats, or whole numbers as integers"
            raise ValueError(f"{str(error).partition('; ')[0]}; {allowed}") from error
        self.read = BatchReader(self.image_shape, self.values.kind)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    def example(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The first training batch, or at most `count` of the images that were looked at."""
        if count is None:
            return self.read(self.batch)
        x, _ = self.read(self.x[:count])
        return x, torch.full((len(x),), -1)

    def mean(self, statistics: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean of statistics(x) over the training data that were looked at, as `base_rate` has it."""
        total = statistics(self.read(self.x)[0]).sum(0, dtype=torch.float64)
        return base_rate(total, len(self.x), self.values)


def batches(data: pl.LightningDataModule, split: str) -> Iterator[Any]:
    """The batches of the first loader of a split, without a draw from torch's noise."""
    with torch.random.fork_rng([]):
        loader: Any = getattr(data, f"{split}_dataloader")()
        while isinstance(loader, list | tuple | dict):
            loader = next(iter(loader.values() if isinstance(loader, dict) else loader), ())
            if loader == ():
                return
        iterator = iter(loader)
    while True:
        with torch.random.fork_rng([]):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


def first_batch(data: Any, split: str, count: int, read: BatchReader | None) -> tuple[Tensor, Tensor] | None:
    """The first x of a split and their labels on the trainer's device; None where the split has no batches.

    read: reads the batches of a foreign data module.
    """
    if read is None:
        return data.first(split, count)
    if not has_loader(data, split):
        return None
    batch = next(batches(data, split), None)
    device = data.trainer.strategy.root_device if data.trainer else "cpu"
    if batch is None:
        return None
    x, labels = read(batch)
    return x[:count].to(device), labels[:count].to(device)
