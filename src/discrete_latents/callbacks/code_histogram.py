"""Histograms of class usage."""

import lightning.pytorch as pl

from discrete_latents.loggers.media import log_shares, shows_more
from discrete_latents.models import LatentModel


class CodeHistogram(pl.Callback):
    """Logs val/code_shares and test/code_shares to loggers that show histograms.

    A share is the fraction of the split's images for which a latent took a class: 0 for an unused class, 1 for the only
    class of a collapsed latent. Of a `LatentModel` alone.
    """

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.show(trainer, pl_module, "val", trainer.global_step - 1)  # as Lightning logs a validation

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.show(trainer, pl_module, "test", trainer.global_step)

    def show(self, trainer: pl.Trainer, model: pl.LightningModule, split: str, step: int) -> None:
        if not (isinstance(model, LatentModel) and shows_more(trainer.loggers)):
            return
        with model.code_usage.sync_context():  # over all processes; the model resets it later
            counts = model.code_usage.counts
        shares = counts / counts.sum(-1, keepdim=True)
        log_shares(trainer.loggers, f"{split}/code_shares", shares, step)
