"""Moves the learning rate with the global step."""

from typing import Any

import lightning.pytorch as pl

from discrete_latents.models import LatentModel


class LearningRate(pl.Callback):
    """Sets the learning rate of `model.optimization` before every training step.

    The rate is a pure function of the global step: a resumed run has the rate of an uninterrupted one, and a run
    resumed with more epochs that of the longer run.

    Place it before the other callbacks, so that they see the rate of the coming step. It does not change the rate of a
    model that overrides `configure_optimizers`.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        # Not earlier: this sets up the data loaders, which must wait until a resumed run's position is restored.
        self.total_steps = trainer.estimated_stepping_batches

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: LatentModel, *_: Any) -> None:
        if getattr(pl_module.configure_optimizers, "__func__", None) is not LatentModel.configure_optimizers:
            return
        optimization = pl_module.optimization
        rate = optimization.lr * optimization.factor(trainer.global_step, self.total_steps)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate
