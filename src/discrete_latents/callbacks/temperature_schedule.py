"""Sets the estimator's temperature to its schedule's value at the global step."""

import lightning.pytorch as pl

from discrete_latents.models import LatentModel


class TemperatureSchedule(pl.Callback):
    """Updates τ before every training step, and logs it each epoch. Ignores estimators without a temperature.

    The global step counts over all epochs and resumes, and not in validation.
    """

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: LatentModel, batch: object, batch_idx: int) -> None:
        if pl_module.estimator.temperature is not None:
            pl_module.estimator.temperature.update(trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        if pl_module.estimator.temperature is not None:
            pl_module.log("temperature", pl_module.estimator.temperature().detach(), sync_dist=True)
