"""Histograms of how often classes are used."""

import lightning.pytorch as pl

from discrete_latents.loggers.media import log_shares, shows_more
from discrete_latents.models import LatentModel


class CodeHistogram(pl.Callback):
    """Logs val/code_shares, and test/code_shares, to loggers that show histograms: for each class of each latent, the
    share of the split's images that drew it. Classes without use are at 0, a latent that collapsed has one at 1."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        if not trainer.sanity_checking:
            self.show(trainer, pl_module, "val", trainer.global_step - 1)  # where Lightning logs a validation

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        self.show(trainer, pl_module, "test", trainer.global_step)

    def show(self, trainer: pl.Trainer, model: LatentModel, split: str, step: int) -> None:
        if not shows_more(trainer.loggers):
            return
        with model.code_usage.sync_context():  # over all processes; the model resets it after this
            counts = model.code_usage.counts
        shares = counts / counts.sum(-1, keepdim=True)
        log_shares(trainer.loggers, f"{split}/code_shares", shares, step)
