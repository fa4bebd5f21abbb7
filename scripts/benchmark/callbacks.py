"""Callbacks that the benchmark adds to runs of train.py."""

import json
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from discrete_latents.data import ImageData
from discrete_latents.latent import HardBound
from discrete_latents.lightning_internals import steady
from discrete_latents.models import LatentModel
from scripts.benchmark.by_hand import CLOSE
from scripts.benchmark.gate import Gate


class BlockwiseTraining(pl.Callback):
    """Passes the gate before every optimiser step."""

    def __init__(self) -> None:
        self.gate = Gate()

    @steady
    def on_train_batch_start(self, *_: Any) -> None:
        self.gate.pass_step()


class FirstStep(pl.Callback):
    """Writes the end of the first optimiser step into `path`, in seconds of `time.monotonic`, and stops training."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @steady
    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self.path.exists():
            self.path.write_text(str(time.monotonic()))
        trainer.should_stop = True


class TimeToBound(pl.Callback):
    """Stops training after the first epoch in which the nll (m = 1000) of the first `images` validation images is at
    most `nats`, and writes epochs and seconds into `path`. The seconds include validation, but not this callback."""

    def __init__(self, nats: float, images: int, path: str) -> None:
        self.nats = nats
        self.images = images
        self.path = Path(path)
        self.asking = 0.0
        self.curve: list[dict[str, float]] = []

    def on_train_start(self, *_: Any) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        asked = time.perf_counter()
        data: ImageData = trainer.datamodule  # type: ignore[attr-defined]
        batch = data.first("val", self.images)
        with pl_module.evaluation_noise():
            samples = 100
            nll = -float(HardBound(samples)(pl_module.objective(batch)).mean())
            if nll <= self.nats + CLOSE:
                samples = 1000
                nll = -float(HardBound(samples)(pl_module.objective(batch)).mean())
        seconds = asked - self.started - self.asking
        self.asking += time.perf_counter() - asked
        self.curve.append({"epochs": trainer.current_epoch + 1, "seconds": seconds, "samples": samples, "nll": nll})
        reached = samples == 1000 and nll <= self.nats
        self.path.write_text(json.dumps({"reached": reached, **self.curve[-1], "curve": self.curve}))
        trainer.should_stop = reached
