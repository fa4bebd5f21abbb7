"""The report of a run, a page to look at."""

import logging
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.report import write_run_report
from discrete_latents.runs.directory import RunDirectory

log = logging.getLogger(__name__)


class RunReport(pl.Callback):
    """Writes `report.html` into `folder` after training, and again after the test.

    It shows what is in the folder by then: it belongs after the callbacks that write there. A report that fails is a
    warning: the run goes on.
    """

    def __init__(self, folder: str) -> None:
        self.report = RunDirectory(Path(folder))

    @rank_zero_only
    def write(self) -> None:
        try:
            write_run_report(self.report)
        except Exception:
            log.warning("no %s", self.report.report, exc_info=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write()
