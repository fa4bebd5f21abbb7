"""A run of a stack: everything of it is its own but the loss and the gradient, which the stack computes."""

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from discrete_latents.data import ImageData
from discrete_latents.models import LatentModel
from discrete_latents.models.compiled_loss import Given
from discrete_latents.models.latent_model import Batch
from discrete_latents.stacked.program import part
from discrete_latents.stacked.stack import Stack, likeness
from discrete_latents.stacked.turns import pause
from discrete_latents.training.foreign import is_foreign

log = logging.getLogger(__name__)


class StackedLoss:
    """A model's training loss, computed with those of the other runs of a stack; by itself where that is refused."""

    def __init__(self, stack: Stack, model: LatentModel) -> None:
        self.stack = stack
        self.model = model
        self.likeness = likeness(model)
        self.alone = model.training_loss
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.stack.refused or not torch.is_grad_enabled():
            return self.alone(batch)
        device = batch[0].device
        noise = torch.get_rng_state()
        device_noise = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        request = self.stack.ask(self.model, self.likeness, batch)
        pause()
        if request.answer is None:
            torch.set_rng_state(noise)
            if device_noise is not None:
                torch.cuda.set_rng_state(device_noise, device)
            return self.alone(batch)
        loss, bound, gradients = request.answer
        return Given.apply(loss, gradients, *self.parameters), bound  # type: ignore[return-value]


class Member(pl.Callback):
    """Makes the training steps of a `LatentModel` part of a stack's. Belongs behind all other callbacks."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and isinstance(data, ImageData):
            self.stack.share(data, trainer.strategy.root_device)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if why := not_stacked(pl_module, data):
            log.info("trained by itself: %s", why)
            return
        assert isinstance(pl_module, LatentModel)
        pl_module.training_loss = StackedLoss(self.stack, pl_module)
        pause()  # until all are built, so that nothing of that counts as time of their steps

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Copies the weights, which are parts of tensors of all runs: torch saves the whole of them."""
        for name in ("state_dict", "current_model_state"):
            if name in checkpoint:
                checkpoint[name] = {key: value.clone() for key, value in checkpoint[name].items()}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if isinstance(pl_module, LatentModel) and isinstance(pl_module.training_loss, StackedLoss):
            del pl_module.training_loss
            part(pl_module)


def not_stacked(model: pl.LightningModule, data: pl.LightningDataModule) -> str | None:
    """Why a model's steps are not computed with those of others; None where they can be."""
    if is_foreign(model, data):
        return "its model or its data are not of this package"
    if isinstance(model, LatentModel) and model.estimator.differentiates:
        return f"{type(model.estimator).__name__} differentiates within a step"
    return None
