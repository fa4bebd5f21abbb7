"""Moves the estimator's temperature with the global step."""

import lightning.pytorch as pl

from discrete_latents.models import LatentModel


class TemperatureSchedule(pl.Callback):
    """Sets τ before every training step to what it is at the global step, and logs it each epoch.

    The step counts over the whole of training: a new epoch, a resume and a validation pass leave τ where the
    schedule has it. Nothing to do for an estimator without a temperature.
    """

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: LatentModel, batch: object, batch_idx: int) -> None:
        if pl_module.estimator.temperature is not None:
            pl_module.estimator.temperature.update(trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        if pl_module.estimator.temperature is not None:
            pl_module.log("temperature", pl_module.estimator.temperature().detach(), sync_dist=True)
