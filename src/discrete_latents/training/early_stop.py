"""A run that early stopping has stopped stays stopped."""

import logging

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)


class KeptStop(pl.Callback):
    """Stops a resumed run where one of Lightning's EarlyStopping had stopped it, unless its patience is now larger.

    Lightning keeps neither the stop, so that the run would train on, nor a patience that is changed on resume.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        callbacks = [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]  # type: ignore[attr-defined]
        self.patience = {callback: callback.patience for callback in callbacks}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback, patience in self.patience.items():
            former, callback.patience = callback.patience, patience
            reason = callback.stopping_reason
            if reason == EarlyStoppingReason.PATIENCE_EXHAUSTED and patience > max(former, callback.wait_count):
                callback.stopping_reason, callback.stopping_reason_message = EarlyStoppingReason.NOT_STOPPED, None
                callback.stopped_epoch = 0
            elif reason != EarlyStoppingReason.NOT_STOPPED:
                trainer.should_stop = True
                rank_zero_only(log.warning)(
                    "EarlyStopping by %s ended training in epoch %d (%s): it stays ended, and the run is tested again; "
                    "a larger patience than %d would go on",
                    *(callback.monitor, callback.stopped_epoch + 1, reason.name.lower().replace("_", " "), patience),
                )
