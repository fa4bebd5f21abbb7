"""The LightningDataModule for images or vectors in memory, from any source."""

import functools
import inspect
import logging
from collections.abc import Callable

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from discrete_latents.checks import truth, whole
from discrete_latents.data.batches import Batches, EpochOrder, MixedOrder
from discrete_latents.data.binarization import MODES, draw, prepare, to_float
from discrete_latents.data.image_checks import check_splits, dtype_name, kind_of_value
from discrete_latents.data.image_warnings import split_warnings
from discrete_latents.data.kinds import DECLARED, Values, base_rate, check_values, reader, value_range
from discrete_latents.data.splits import Splits
from discrete_latents.likelihoods import KINDS

log = logging.getLogger(__name__)


class ImageData(pl.LightningDataModule):
    """Images or vectors of a source, in memory on the model's device.

    Args:
        name: the data's name in results.json.
        source: called without arguments, returns `Splits` of images or vectors and their labels, if any.
        binarization: of grey values: fixed, dynamic, threshold or grey. With dynamic, validation and test images are
            fixed. None: no binarisation, as for data of another kind.
        batch_size: training images per batch. The last, or only, batch of a split may be smaller.
        eval_batch_size: validation and test images per batch.
        seed: of the order of the training images.
        reshuffled: whether every epoch has a new order.
        labelled: for semi-supervised training: the number of training images that keep their label, balanced over the
            classes. The labels of the others become -1.
        labelled_batch_size: labelled images in a semi-supervised batch, before its `batch_size` unlabelled ones. They
            repeat if there are fewer.
        label_seed: determines which images keep their label.
        augmentation: applied to training images at every read, to the labelled ones alone where `labelled` is set; maps
            images to images of the same type and shape, before binarisation.
        kind: what the values are: grey, real or whole (`kinds.DECLARED`). None: derived from their type and range.

    A split without labels gets labels of -1. `classes` holds the largest label plus one for each split, or 0 without
    labels. `values` holds what a model reads.

    Raises ValueError for invalid settings. `setup` raises it for invalid splits (`check_splits`, `check_values`) and
    for a `labelled` that the classes cannot share evenly, and logs `split_warnings`.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], Splits],
        binarization: str | None = "fixed",
        batch_size: int = 100,
        eval_batch_size: int = 500,
        seed: int = 0,
        reshuffled: bool = True,
        labelled: int | None = None,
        labelled_batch_size: int = 100,
        label_seed: int = 0,
        augmentation: Callable[[Tensor], Tensor] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__()
        if binarization not in (*MODES, None):
            raise ValueError(f"binarization must be one of {', '.join(MODES)}, got {binarization!r}")
        if kind not in (*DECLARED, None):
            raise ValueError(f"kind must be one of {', '.join(DECLARED)} or null, got {kind!r}")
        if not callable(source):
            raise ValueError(
                f"source is {kind_of_value(source)}, not a function that returns Splits; with `_target_`, set "
                "`_partial_: true`"
            )
        try:
            inspect.signature(source).bind()
        except TypeError as error:
            raise ValueError(f"source must be callable with what data.source sets, got {error}") from error
        self.name = name
        self.source = source
        self.binarization = binarization
        self.batch_size = whole("batch_size", batch_size)
        self.eval_batch_size = whole("eval_batch_size", eval_batch_size)
        self.seed = whole("seed", seed, least=0)
        self.reshuffled = truth("reshuffled", reshuffled)
        self.labelled = None if labelled is None else whole("labelled", labelled)
        self.labelled_batch_size = whole("labelled_batch_size", labelled_batch_size)
        self.label_seed = whole("label_seed", label_seed, least=0)
        self.augmentation = augmentation
        self.kind = kind
        self.test_split = "test"  # the split used for testing; eval.py can set "val"
        self.values = Values("grey", 0, 1)
        self.read: Callable[[Tensor], Tensor] = to_float
        self.pixels: dict[str, Tensor] = {}
        self.labels: dict[str, Tensor] = {}
        self.classes: dict[str, int] = {}

    def __str__(self) -> str:
        """Lightning's would count the batches of its own loaders."""
        counts = ", ".join(f"{len(x)} {split}" for split, x in self.pixels.items())
        return f"{self.name}: {counts}, x {self.image_shape} {self.values.kind}" if counts else f"{self.name}: not read"

    __repr__ = __str__

    def setup(self, stage: str | None = None) -> None:
        if self.pixels:
            return
        splits = check_splits(self.source())
        self.values = check_values(splits, self.kind)
        self.binarization = self.applied_binarization()
        self.read = reader(self.values.kind)
        pixels: dict[str, Tensor] = {}
        for part, (split, images) in enumerate(splits._asdict().items()):
            mode = "fixed" if self.binarization == "dynamic" and split != "train" else self.binarization
            pixels[split] = prepare(images.x, mode, part) if mode else images.x
            if mode in ("fixed", "threshold"):
                lowest, highest = value_range(pixels[split])
                if lowest == highest:
                    raise ValueError(f"binarization = {mode} makes every pixel of the {split} images {highest} of 255")
            absent = images.labels is None
            self.labels[split] = torch.full((len(images.x),), -1) if absent else images.labels
            self.classes[split] = 0 if absent else int(images.labels.max()) + 1
        if self.labelled is not None:
            self.labels["train"] = self.kept_labels(self.labels["train"], self.labelled)
        if self.augmentation is not None:
            with torch.random.fork_rng([]):
                self.augmented(pixels["train"][:2].clone())
        for warning in split_warnings(splits, self.values.grey):
            rank_zero_only(log.warning)("data.name = %s: %s", self.name, warning)
        if self.binarization not in ("grey", None):
            self.values = Values("binary", 0, 1)
        self.pixels = pixels

    def applied_binarization(self) -> str | None:
        """The mode for values of this kind. Raises ValueError for one that is not defined for them."""
        if self.values.grey:
            return self.binarization or "grey"
        if self.binarization not in ("grey", None):
            kind, lowest, highest = self.values
            raise ValueError(
                f"binarization must be null for data that are not grey values, got {self.binarization}: x is "
                f"{KINDS[kind]} ({lowest:g} to {highest:g})"
            )
        return None

    def kept_labels(self, labels: Tensor, count: int) -> Tensor:
        """The training labels with all but `count` set to -1."""
        if not self.classes["train"]:
            raise ValueError(
                f"labelled must be null where the train images have no labels, got {count} (of data=arrays, "
                "train_labels.npy is missing)"
            )
        if count == len(labels):
            raise ValueError(f"labelled must be below the {count} train images: training needs some without a label")
        kept = torch.full_like(labels, -1)
        chosen = balanced(labels, count, self.label_seed)
        kept[chosen] = labels[chosen]
        return kept

    @property
    def description(self) -> dict[str, str]:
        """Name and binarisation, as recorded in results.json."""
        return {"name": str(self.name), "binarization": self.binarization or "none"}

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image, or (D,) of a vector."""
        return tuple(self.pixels["train"].shape[1:])

    @property
    def mean_image(self) -> Tensor:
        """The mean of x in training."""
        return self.mean(lambda x: x)

    def mean(self, statistics: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean of statistics(x) over the training data, as `base_rate` has it."""
        pixels = self.pixels["train"]
        # In parts, to save memory for floats, or for one-hot classes.
        rows = max(1, 2**17 // pixels[0].numel())
        parts = (statistics(self.read(part)).sum(0, dtype=torch.float64) for part in pixels.split(rows))
        return base_rate(functools.reduce(torch.add, parts), len(pixels), self.values)

    def batches(self, split: str, batch_size: int, shuffled: bool = False) -> Batches:
        """This process's batches of a split, on the trainer's device.

        shuffled: for training: random order, labelled images first if `labelled` is set, augmentation and dynamic
            binarisation. Otherwise the order of the split.
        """
        trainer = self.trainer
        device, rank, world = (
            (trainer.strategy.root_device, trainer.global_rank, trainer.world_size) if trainer else ("cpu", 0, 1)
        )
        pixels, labels = self.pixels[split], self.labels[split]
        read = draw if shuffled and self.binarization == "dynamic" else self.read
        order = EpochOrder(len(pixels), self.seed if shuffled else None, rank, world, self.reshuffled)
        if shuffled and self.labelled is not None:
            known, unknown = (labels >= 0).nonzero().squeeze(-1), (labels < 0).nonzero().squeeze(-1)
            order = MixedOrder(known, unknown, self.labelled_batch_size, self.seed, rank, world, self.reshuffled)
        if shuffled and self.augmentation is not None:
            drawn = self.binarization not in ("grey", None)
            read = functools.partial(self.read_augmented, draw if drawn else self.read)
        return Batches(pixels.to(device), labels.to(device), batch_size, order, read)

    def example(self, count: int = 2) -> tuple[Tensor, Tensor]:
        """A training batch of at most `count` images."""
        return next(iter(self.batches("train", count, shuffled=True)))

    def first(self, split: str, count: int) -> tuple[Tensor, Tensor]:
        """The first images of a split and their labels on the trainer's device, equal in all processes."""
        device = self.trainer.strategy.root_device if self.trainer else "cpu"
        return self.read(self.pixels[split][:count].to(device)), self.labels[split][:count].to(device)

    def read_augmented(self, read: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """A batch with its images augmented, the labelled ones alone where `labelled` is set."""
        count = len(pixels) if self.labelled is None else self.labelled_batch_size
        return read(torch.cat([self.augmented(pixels[:count]), pixels[count:]]))

    def augmented(self, pixels: Tensor) -> Tensor:
        """Augmented images. Raises ValueError unless they keep their type and shape."""
        assert self.augmentation is not None
        made = self.augmentation(pixels)
        if not isinstance(made, Tensor) or made.dtype != pixels.dtype or made.shape != pixels.shape:
            found = f"{dtype_name(made.dtype)} {tuple(made.shape)}" if isinstance(made, Tensor) else kind_of_value(made)
            given = f"{dtype_name(pixels.dtype)} images {tuple(pixels.shape)}"
            raise ValueError(f"augmentation must return {given} as it is given, got {found}")
        return made

    def train_dataloader(self) -> Batches:
        return self.batches("train", self.batch_size, shuffled=True)

    def val_dataloader(self) -> Batches:
        return self.batches("val", self.eval_batch_size)

    def test_dataloader(self) -> Batches:
        return self.batches(self.test_split, self.eval_batch_size)


def balanced(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` random images, the same number from each class that occurs, determined by the seed.

    Raises ValueError if `count` is not a multiple of the number of classes, or a class has too few images.
    """
    classes, sizes = labels.unique(return_counts=True)
    share, rest = divmod(count, len(classes))
    if rest or share > sizes.min():
        raise ValueError(
            f"labelled must be a multiple of the {len(classes)} classes, at most {int(sizes.min()) * len(classes)}, "
            f"got {count}"
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == label][:share] for label in classes])
