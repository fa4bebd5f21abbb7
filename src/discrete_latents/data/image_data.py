"""One DataModule over named sources of images."""

from collections.abc import Callable

import lightning.pytorch as pl
import torch
from torch import Tensor

from discrete_latents.data.batches import Batches, EpochOrder
from discrete_latents.data.binarization import MODES, draw, prepare, to_float
from discrete_latents.data.sources import Splits
from discrete_latents.latent.checks import whole


class ImageData(pl.LightningDataModule):
    """Images of a source, binarised as `binarization` says, in memory on the model's device.

    source: called without arguments, gives the splits. seed: of the order of training images. Validation and
    test images are binarised once, whatever the training mode. Raises ValueError for an unknown mode or a
    batch size below 1.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], Splits],
        binarization: str = "fixed",
        batch_size: int = 100,
        eval_batch_size: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if binarization not in MODES:
            raise ValueError(f"binarization must be one of {', '.join(MODES)}, got {binarization!r}")
        self.name = name
        self.source = source
        self.binarization = binarization
        self.batch_size = whole("batch_size", batch_size)
        self.eval_batch_size = whole("eval_batch_size", eval_batch_size)
        self.seed = seed
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

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.pixels["train"].shape[1:])

    @property
    def mean_image(self) -> Tensor:
        """The mean of the training images, (C, H, W), with one black and one white image added, so that no
        pixel's base rate is 0 or 1 (Laplace's rule)."""
        pixels = self.pixels["train"]
        total = pixels.sum(0, dtype=torch.int64).float() / 255
        return (total + 1) / (len(pixels) + 2)

    def batches(self, split: str, batch_size: int, shuffled: bool = False) -> Batches:
        """A split on the trainer's device, in this process's share."""
        trainer = self.trainer
        device, rank, world = (
            (trainer.strategy.root_device, trainer.global_rank, trainer.world_size) if trainer else ("cpu", 0, 1)
        )
        drawn = shuffled and self.binarization == "dynamic"
        return Batches(
            self.pixels[split].to(device),
            self.labels[split].to(device),
            batch_size,
            EpochOrder(len(self.pixels[split]), self.seed if shuffled else None, rank, world),
            draw if drawn else to_float,
        )

    def train_dataloader(self) -> Batches:
        return self.batches("train", self.batch_size, shuffled=True)

    def val_dataloader(self) -> Batches:
        return self.batches("val", self.eval_batch_size)

    def test_dataloader(self) -> Batches:
        return self.batches(self.test_split, self.eval_batch_size)
