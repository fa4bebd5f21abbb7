"""The base of the callbacks that measure gradients at the end of every epoch."""

import lightning.pytorch as pl

from discrete_latents.checks import whole
from discrete_latents.data.loaders import first_batch
from discrete_latents.models import LatentModel
from discrete_latents.models.latent_model import Batch


class EpochMeasurement(pl.Callback):
    """Calls `measure` at the end of every epoch with the first `count` validation images. Of a `LatentModel` alone, and
    where there are such images."""

    def __init__(self, count: int) -> None:
        self.count = whole("count", count)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, LatentModel):
            return
        batch = first_batch(trainer.datamodule, "val", self.count, pl_module.reader)  # type: ignore[attr-defined]
        if batch is not None:
            self.measure(trainer, pl_module, batch)

    def measure(self, trainer: pl.Trainer, model: LatentModel, batch: Batch) -> None:
        raise NotImplementedError
