"""Sets the weight of the KL and the free bits of training to their schedules' values at the global step."""

import lightning.pytorch as pl

from discrete_latents.models import LatentModel


class KLWeightSchedule(pl.Callback):
    """Updates β and free bits before every training step, and logs them each epoch where they are in use."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if isinstance(pl_module, LatentModel) and pl_module.kl_weight.changes:
            pl_module.kl_weight.update(trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, LatentModel) and pl_module.kl_weight.changes:
            weight = pl_module.kl_weight
            pl_module.log_dict({"beta": weight.beta(), "free_bits": weight.free_bits()}, sync_dist=True)
