"""One DataModule over named sources of images."""

from collections.abc import Callable
from functools import partial

import lightning.pytorch as pl
import torch
from torch import Tensor

from discrete_latents.checks import truth, whole
from discrete_latents.data.batches import Batches, EpochOrder, MixedOrder
from discrete_latents.data.binarization import MODES, draw, prepare, to_float
from discrete_latents.data.sources import Splits


class ImageData(pl.LightningDataModule):
    """Images of a source, binarised as `binarization` says, in memory on the model's device.

    source: called without arguments, gives the splits. seed: of the order of training images; where not reshuffled,
    every epoch has the same. Validation and test images are binarised once, whatever the training mode.

    labelled: for semi-supervised training, how many training images keep their label, as many of each class,
    chosen by label_seed; the others' labels are -1, and a batch holds `labelled_batch_size` labelled images
    before its `batch_size` unlabelled ones. augmentation: what changes labelled training images, uint8, whenever they
    are read; binarised modes binarise what it gives by a draw. Raises ValueError for an unknown mode, a batch size
    below 1, a seed below 0, or a number of labels that the classes do not share evenly.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], Splits],
        binarization: str = "fixed",
        batch_size: int = 100,
        eval_batch_size: int = 500,
        seed: int = 0,
        reshuffled: bool = True,
        labelled: int | None = None,
        labelled_batch_size: int = 100,
        label_seed: int = 0,
        augmentation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if binarization not in MODES:
            raise ValueError(f"binarization must be one of {', '.join(MODES)}, got {binarization!r}")
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
        self.test_split = "test"  # what testing reads; eval.py can test on "val"
        self.pixels: dict[str, Tensor] = {}
        self.labels: dict[str, Tensor] = {}

    def setup(self, stage: str | None = None) -> None:
        if self.pixels:
            return
        splits = self.source()
        for part, (split, images) in enumerate(splits._asdict().items()):
            mode = "fixed" if self.binarization == "dynamic" and split != "train" else self.binarization
            self.pixels[split] = prepare(images.grey, mode, part)
            self.labels[split] = images.labels
        if self.labelled is not None:
            labels = torch.full_like(self.labels["train"], -1)
            chosen = balanced(self.labels["train"], self.labelled, self.label_seed)
            labels[chosen] = self.labels["train"][chosen]
            self.labels["train"] = labels

    @property
    def description(self) -> dict[str, str]:
        """What results.json says of the data."""
        return {"name": str(self.name), "binarization": self.binarization}

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.pixels["train"].shape[1:])

    @property
    def mean_image(self) -> Tensor:
        """The mean of the training images, (C, H, W), with one black and one white image added, so that no
        pixel's base rate is 0 or 1 (Laplace's rule)."""
        pixels = self.pixels["train"]
        # Part by part: the sum of bytes makes a copy eight times their size.
        total = sum(part.sum(0, dtype=torch.int64) for part in pixels.split(1000)).float() / 255  # type: ignore[union-attr]
        return (total + 1) / (len(pixels) + 2)

    def batches(self, split: str, batch_size: int, shuffled: bool = False) -> Batches:
        """A split on the trainer's device, in this process's share."""
        trainer = self.trainer
        device, rank, world = (
            (trainer.strategy.root_device, trainer.global_rank, trainer.world_size) if trainer else ("cpu", 0, 1)
        )
        pixels, labels = self.pixels[split], self.labels[split]
        read = draw if shuffled and self.binarization == "dynamic" else to_float
        order = EpochOrder(len(pixels), self.seed if shuffled else None, rank, world, self.reshuffled)
        if shuffled and self.labelled is not None:
            known, unknown = (labels >= 0).nonzero().squeeze(-1), (labels < 0).nonzero().squeeze(-1)
            order = MixedOrder(known, unknown, self.labelled_batch_size, self.seed, rank, world, self.reshuffled)
            if self.augmentation is not None:
                read = partial(self.read_augmented, to_float if self.binarization == "grey" else draw)
        return Batches(pixels.to(device), labels.to(device), batch_size, order, read)

    def first(self, split: str, count: int) -> tuple[Tensor, Tensor]:
        """The first images of a split and their labels, on the trainer's device, the same for all processes."""
        device = self.trainer.strategy.root_device if self.trainer else "cpu"
        return to_float(self.pixels[split][:count].to(device)), self.labels[split][:count].to(device)

    def read_augmented(self, read: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """A batch with its labelled images changed."""
        assert self.augmentation is not None
        count = self.labelled_batch_size
        return read(torch.cat([self.augmentation(pixels[:count]), pixels[count:]]))

    def train_dataloader(self) -> Batches:
        return self.batches("train", self.batch_size, shuffled=True)

    def val_dataloader(self) -> Batches:
        return self.batches("val", self.eval_batch_size)

    def test_dataloader(self) -> Batches:
        return self.batches(self.test_split, self.eval_batch_size)


def balanced(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` images, as many of each class, a function of the seed. Raises ValueError where that
    cannot be."""
    classes, sizes = labels.unique(return_counts=True)
    share, rest = divmod(count, len(classes))
    if rest or share > sizes.min():
        raise ValueError(
            f"labelled must be a multiple of the {len(classes)} classes, at most {int(sizes.min()) * len(classes)}, "
            f"got {count}"
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == label][:share] for label in classes])
