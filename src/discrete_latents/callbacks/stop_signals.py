"""Signals that ask a run to stop: heeded between two batches, by all processes together."""

import os
import signal
import subprocess
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents.lightning_internals import before_each_batch, gradients_are_kept, heeded_signals


class StopSignals:
    """SIGTERM, and SLURM's signal that a job runs out of time, after which the job is to be queued again.

    asked: whether one came to this process. Lightning's own handlers talk to other processes, and save for SLURM, in
    the middle of whatever is done, which hangs, or saves half a step.
    """

    def __init__(self) -> None:
        self.asked = self.asked_for_requeue = False

    def take_over(self, trainer: pl.Trainer) -> None:
        """Puts handlers in place of Lightning's, and not of somebody else's. Several processes then stop before the
        same batch, whichever of them was asked, and never between the batches of one optimiser step."""
        handlers = {"stop": self.stop, "requeue": self.stop_and_requeue}
        for name, number in heeded_signals(trainer).items():
            signal.signal(number, handlers[name])
        before_each_batch(trainer, lambda: self.stop_together(trainer))

    def stop(self, *_: Any) -> None:
        self.asked = True

    def stop_and_requeue(self, *_: Any) -> None:
        self.asked = self.asked_for_requeue = True

    def asked_anywhere(self, trainer: pl.Trainer) -> bool:
        """Whether any process was asked. All of them wait for each other here."""
        return trainer.strategy.reduce_boolean_decision(self.asked, all=False)

    def stop_together(self, trainer: pl.Trainer) -> None:
        """Raises SIGTERMException in every process where any was asked, and no gradients wait for a step."""
        if not gradients_are_kept(trainer) and self.asked_anywhere(trainer):
            raise SIGTERMException

    def requeue(self, trainer: pl.Trainer) -> None:
        """Has SLURM queue this job again, where it asked for the stop. To be called once the run is saved."""
        if self.asked_for_requeue and trainer.is_global_zero:
            array = os.environ.get("SLURM_ARRAY_JOB_ID")
            job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
            subprocess.run(["scontrol", "requeue", job])
