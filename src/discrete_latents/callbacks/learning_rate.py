"""Moves the learning rate with the global step."""

from typing import Any

import lightning.pytorch as pl

from discrete_latents.models import LatentModel


class LearningRate(pl.Callback):
    """Sets the rate of `model.optimization` before every training step, a pure function of the global step, so that a
    resumed run has the rate of an uninterrupted one, and a run resumed with more epochs that of the longer run.

    Belongs in front of the other callbacks, which then see the rate of the step that comes. A model with
    `configure_optimizers` of its own keeps the rate that this sets up.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        # Asked earlier, Lightning would set up the batches before it has restored where a resumed run stood in them.
        self.total_steps = trainer.estimated_stepping_batches

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: LatentModel, *_: Any) -> None:
        if getattr(pl_module.configure_optimizers, "__func__", None) is not LatentModel.configure_optimizers:
            return
        optimization = pl_module.optimization
        rate = optimization.lr * optimization.factor(trainer.global_step, self.total_steps)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate
