"""What a run came to is kept, whatever happens after its test."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.results import nonfinite
from discrete_latents.runs.tracebacks import write_traceback

log = logging.getLogger(__name__)


class TestedMetrics(pl.Callback):
    """Hands over the metrics of a test as soon as they exist. Belongs in front of the other callbacks, whose pictures
    and the like come after, and may fail. Raises UserError for metrics that are not finite, once they are written."""

    __test__ = False

    def __init__(self, finish: Callable[[Mapping[str, float]], None]) -> None:
        self.finish = finish
        self.state: dict[str, Any] = {}
        """Which state is tested: its epoch, counted from 1, its step, and, of the best by validation, its figure."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.state = {"epoch": trainer.current_epoch, "step": trainer.global_step}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != TrainerFn.TESTING:
            return
        self.state = {"epoch": checkpoint["epoch"] + 1, "step": checkpoint["global_step"]}
        saving = trainer.checkpoint_callback
        if isinstance(saving, ModelCheckpoint) and saving.monitor and saving.best_model_score is not None:
            self.state[saving.monitor] = float(saving.best_model_score)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.logged_metrics.items()}
        self.finish(metrics)
        if error := end_of(metrics).get("error"):
            raise UserError(error)


def end_of(metrics: Mapping[str, float]) -> dict[str, str]:
    """How a test ended, for results.json: "completed", or "failed" and why, where a metric is not finite."""
    wrong = nonfinite(metrics)
    return {"status": "failed", "error": f"the test is not finite: {wrong}"} if wrong else {"status": "completed"}


@contextmanager
def results_stand(run: RunDirectory, results: Mapping[str, Any]) -> Iterator[None]:
    """Makes one warning of an exception that comes after the results were written, with the traceback in train.log.

    results: empty until then.
    """
    try:
        yield
    except Exception as error:
        if not results:
            raise
        said = write_traceback(run, error)
        log.warning("after the test, whose metrics are complete in %s: %s", run.results, said)
