"""What a run came to in one number, which a sweeper of Hydra's optimises."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.trainer.states import TrainerFn

from discrete_latents.callbacks import Checkpoints
from discrete_latents.runs.metrics import metric


class BestInValidation(pl.Callback):
    """Keeps the best value in validation of one metric, over resumes too.

    The metric is `name`, or that by which the best checkpoint is chosen, else val/nelbo; best is its better end, and
    the last one where it has none. A metric of the test is taken from the test.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.monitor = name if name is not None and not name.startswith("test/") else None  # checked before training
        self.best: float | None = None
        self.ended = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        chosen = [callback.monitor for callback in trainer.callbacks if isinstance(callback, Checkpoints)]  # type: ignore[attr-defined]
        self.name = self.name or next(filter(None, chosen), "val/nelbo")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (
            trainer.state.fn != TrainerFn.FITTING
            or trainer.sanity_checking
            or self.name not in trainer.callback_metrics
        ):
            return
        value = float(trainer.callback_metrics[str(self.name)])
        better = {"lowest": min, "highest": max}.get(str(metric(str(self.name)).better))
        self.best = value if self.best is None or better is None else better(self.best, value)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ended = True

    def state_dict(self) -> dict[str, Any]:
        return {} if self.best is None else {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict.get("best")
        if not self.ended:  # a test loads the states of the best checkpoint
            self.best = float(best) if isinstance(best, int | float) else None

    def value(self, tested: Mapping[str, float]) -> dict[str, float]:
        """The metric's value by its name; empty where neither a validation nor the test has it."""
        found = tested.get(str(self.name), self.best)
        return {} if found is None else {str(self.name): found}


def optimized(results: Mapping[str, Any]) -> float:
    """The number in a run's results; NaN where there is none, which a sweeper takes for a failure."""
    return next(iter(results.get("optimized", {}).values()), float("nan"))
