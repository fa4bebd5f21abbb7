"""Training speed."""

import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from discrete_latents.lightning_internals import steady


class Throughput(pl.Callback):
    """Logs images_per_second each epoch: images over all processes per second of training steps. Set-up, validation and
    writing are not counted. The attribute `images_per_second` is the mean over training, also in several parts.
    """

    def __init__(self) -> None:
        self.started: float | None = None
        self.seconds = 0.0
        self.images = 0
        self.epoch_start = (0.0, 0)

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    def state_dict(self) -> dict[str, Any]:
        running = 0.0 if self.started is None else time.perf_counter() - self.started
        return {"seconds": self.seconds + running, "images": self.images, "epoch_start": self.epoch_start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.images = state_dict["seconds"], state_dict["images"]
        self.epoch_start = tuple(state_dict["epoch_start"])

    @steady
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.started is None:
            self.started = now(pl_module.device)
        self.images += length(batch) * trainer.world_size

    def stop(self, device: torch.device) -> None:
        if self.started is not None:
            self.seconds += now(device) - self.started
            self.started = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop(pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop(pl_module.device)
        seconds, images = self.seconds - self.epoch_start[0], self.images - self.epoch_start[1]
        self.epoch_start = (self.seconds, self.images)
        if seconds:
            pl_module.log("images_per_second", images / seconds, sync_dist=True)


def length(batch: Any) -> int:
    """The images of a batch: the length of its first tensor, 0 where there is none."""
    while isinstance(batch, list | tuple | Mapping):
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch), None)
    return len(batch) if isinstance(batch, torch.Tensor) and batch.dim() else 0


def now(device: torch.device) -> float:
    """The time, in seconds, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
