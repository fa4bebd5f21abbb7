"""Sets the weight of the KL and the free bits of training to their schedules' values at the global step."""

import lightning.pytorch as pl

from discrete_latents.latent import KLWeight
from discrete_latents.lightning_internals import steady
from discrete_latents.models import LatentModel


class KLWeightSchedule(pl.Callback):
    """Updates β and free bits before every training step, and logs them each epoch where they are in use."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.weight: KLWeight | None = None
        if isinstance(pl_module, LatentModel) and pl_module.kl_weight.changes:
            self.weight = pl_module.kl_weight

    @steady
    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if self.weight is not None:
            self.weight.update(trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.weight is not None:
            pl_module.log_dict({"beta": self.weight.beta(), "free_bits": self.weight.free_bits()}, sync_dist=True)
