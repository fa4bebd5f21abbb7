"""The callbacks that `benchmark.py` adds to train.py's own."""

import json
import time
from pathlib import Path
from typing import Any

import benchmark_gate
import lightning.pytorch as pl

from discrete_latents.data import ImageData
from discrete_latents.latent import HardBound
from discrete_latents.models import LatentModel

CLOSE = 4.0
"""Nats by which an nll of 100 samples may be above one of 1000: 2.6 were seen."""


class Gate(pl.Callback):
    """Stops before blocks of optimiser steps."""

    def __init__(self) -> None:
        self.gate = benchmark_gate.Gate()

    def on_train_batch_start(self, *_: Any) -> None:
        self.gate.pass_step()


class FirstStep(pl.Callback):
    """Writes into `path` when the first optimiser step was done, on `time.monotonic`'s clock, and stops training."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self.path.exists():
            self.path.write_text(str(time.monotonic()))
        trainer.should_stop = True


class TimeToBound(pl.Callback):
    """Stops training after the epoch in which the nll (m = 1000) of the first `images` validation images came to
    `nats`, and writes into `path` what that took. The time that asking takes is not counted; validation is."""

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
