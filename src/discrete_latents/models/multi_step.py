"""Optimiser steps under Lightning, at the speed of a loop by hand."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from discrete_latents.optimization import Optimization

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W), as floats, and their labels (B,)."""


class SteppedModule(pl.LightningModule):
    """A module whose `training_step` takes several optimiser steps, up to `steps_per_loop`, in one turn of Lightning's
    loop. What Lightning does in a turn costs 0.8 ms, as much as a small network's products.

    Subclasses define `step_loss`. Nobody else sees a difference: callbacks are told of every batch, the global step,
    what is logged and what a checkpoint holds are those of one step a turn, also in the middle of one. A turn ends
    where Lightning has something to do: a validation, the last step, a signal to stop. Two exceptions: the batch that
    Lightning hands to `on_train_batch_end` is a turn's first, and a stop asked for there comes one step later.

    It takes manual optimisation, `automatic_optimization = False`, and batches that have `following`; without, each
    batch is a turn. The learning rate is set before every step, a pure function of the global step.
    """

    optimization: Optimization
    steps_per_loop = 1
    total_steps = math.inf

    def take_steps(self, steps_per_loop: int, trainer: pl.Trainer) -> None:
        """Sets how many steps a turn takes: one where Lightning clips or accumulates gradients, which it does in
        automatic optimisation alone."""
        accumulates = trainer.accumulate_grad_batches != 1 or any(
            isinstance(callback, GradientAccumulationScheduler)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
        self.automatic_optimization = steps_per_loop == 1 or accumulates or bool(trainer.gradient_clip_val)
        self.steps_per_loop = steps_per_loop

    def step_loss(self, batch: Batch) -> Tensor:
        """What a step minimises, a scalar."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.automatic_optimization:
            self.set_learning_rate()
            return self.step_loss(batch)
        loss = self.optimizer_step_on(batch)
        for _ in range(self.further_steps(batch_idx)):
            if self.trainer.should_stop or self.trainer.received_sigterm:
                break
            self.end_batch(batch, loss)
            batch = self.start_batch()
            loss = self.optimizer_step_on(batch)
        return loss

    def optimizer_step_on(self, batch: Batch) -> Tensor:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.set_learning_rate()
        loss = self.step_loss(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss.detach().clone()  # which a step replayed by a GPU would write over

    def further_steps(self, batch_idx: int) -> int:
        """How many steps can follow the first of a turn."""
        trainer = self.trainer
        if not hasattr(trainer.train_dataloader, "following"):
            return 0
        every_epoch = trainer.check_val_every_n_epoch is not None
        batch = batch_idx if every_epoch else trainer.fit_loop.total_batch_idx
        interval = trainer.val_check_batch or math.inf  # None where validation goes by the clock
        left = [self.steps_per_loop - 1, trainer.num_training_batches - 1 - batch_idx, interval - 1 - batch % interval]
        if trainer.max_steps >= 0:
            left.append(trainer.max_steps - trainer.global_step)
        return int(min(left))

    # What Lightning's loop does after a batch and before the next, in its order, so that whatever is saved or logged
    # in between is what it would be with a turn a step.

    def end_batch(self, batch: Batch, loss: Tensor) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        loop.batch_progress.increment_processed()
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_train_batch_end(self.trainer, self, {"loss": loss}, batch, loop.batch_idx)
        loop.batch_progress.increment_completed()
        loop._batches_that_stepped += 1

    def start_batch(self) -> Batch:
        loop, fetcher = self.trainer.fit_loop.epoch_loop, self.trainer.fit_loop._data_fetcher
        assert fetcher is not None
        batch = self.trainer.precision_plugin.convert_input(next(self.trainer.train_dataloader.following))  # type: ignore[union-attr]
        fetcher.fetched += 1
        fetcher.done = fetcher.fetched >= self.trainer.num_training_batches
        loop.batch_progress.is_last_batch = fetcher.done
        loop.batch_progress.increment_ready()
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_train_batch_start(self.trainer, self, batch, loop.batch_idx)
        loop.batch_progress.increment_started()
        return batch

    def set_learning_rate(self) -> None:
        factor = self.optimization.factor(self.trainer.global_step, self.total_steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.optimization.lr * factor

    def on_train_start(self) -> None:
        # Known once training starts; asked earlier, Lightning would set up the batches before it has restored where a
        # resumed run stood in them.
        self.total_steps = self.trainer.estimated_stepping_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning counts the steps of automatic and of manual optimisation apart; a run may go on in the other."""
        done = {"ready": checkpoint["global_step"], "completed": checkpoint["global_step"]}
        loops = checkpoint["loops"]["fit_loop"]
        loops["epoch_loop.manual_optimization.optim_step_progress"]["total"] = done
        loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"] = dict(done)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimization.optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])
