"""Moves the learning rate with the global step, and logs it."""

import logging
from typing import Any, TypeGuard

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.lightning_internals import steady
from discrete_latents.models import LatentModel

log = logging.getLogger(__name__)


class LearningRate(pl.Callback):
    """Sets the learning rate of `model.optimization` before every training step, times the factor of a group.

    The rate is a pure function of the global step: a resumed run has the rate of an uninterrupted one, and a run
    resumed with more epochs that of the longer run.

    Place it before the other callbacks, so that they see the rate of the coming step. It does not change the rate of a
    model that overrides `configure_optimizers`.

    The rate of an epoch's last step is logged as learning_rate, that of the first group of parameters.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not earlier: this sets up the data loaders, which must wait until a resumed run's position is restored.
        self.total_steps = trainer.estimated_stepping_batches
        if self.moves(pl_module) and self.total_steps == float("inf") and pl_module.optimization.schedule.needs_end:
            kind = type(pl_module.optimization.schedule).__name__
            rank_zero_only(log.warning)("lr_schedule: training has no end in steps, and %s never lowers the rate", kind)

    @steady
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if self.moves(pl_module):
            rate = pl_module.optimization.rate(trainer.global_step, self.total_steps)
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = rate * group.get("factor", 1.0)

    def moves(self, model: pl.LightningModule) -> TypeGuard[LatentModel]:
        return getattr(model.configure_optimizers, "__func__", None) is LatentModel.configure_optimizers

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if groups:
            pl_module.log("learning_rate", float(groups[0]["lr"]), sync_dist=True)
