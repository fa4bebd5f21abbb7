"""How long a run has taken, over all its resumes."""

import time
from typing import Any

import lightning.pytorch as pl

from discrete_latents.errors import UserError


class RunTime(pl.Callback):
    """Counts seconds: those until the checkpoint from which the run goes on, which holds them, and those since `start`,
    a time of `perf_counter`."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.before = 0.0
        self.fitted = False

    @property
    def seconds(self) -> float:
        """Of this command."""
        return time.perf_counter() - self.start

    @property
    def total(self) -> float:
        return self.before + self.seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fitted = True

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.fitted:  # the best checkpoint, for the test
            return
        total = state_dict.get("total")
        if not isinstance(total, float) or total < 0:
            raise UserError(
                f"the checkpoint is damaged, no run goes on from it: RunTime.total must be seconds, got {total!r:.80}"
            )
        self.before = total
