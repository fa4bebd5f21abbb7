"""Stop signals, handled between training batches by all processes together, and within a validation batch."""

import os
import signal
from contextvars import ContextVar
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents import slurm
from discrete_latents.lightning_internals import before_each_batch, gradients_are_kept, heeded_signals


class Relay:
    """Hands SIGTERM on to runs in threads, which no signal reaches. asked: whether it came."""

    def __init__(self) -> None:
        self.asked = False
        self.runs: list[StopSignals] = []

    def ask(self, *_: Any) -> None:
        self.asked = True
        for run in self.runs:
            run.asked = True


RELAY: ContextVar[Relay | None] = ContextVar("relay", default=None)
"""That of the thread."""


class StopSignals:
    """Handles SIGTERM and SLURM's warning before the time limit, after which the job is requeued.

    asked: whether this process received one. at_once: whether one would stop it within the present batch, of a
    validation. heeded: whether they are handled here, while training. taken: the handlers that were replaced.
    Lightning's own handlers communicate with other processes, and save for SLURM, in the middle of a step: they can
    hang or save half a step. In a thread, a `Relay` asks instead; a validation then ends before its next batch.
    """

    def __init__(self) -> None:
        self.asked = self.asked_for_requeue = self.at_once = self.heeded = False
        self.noise: torch.Tensor | None = None
        self.taken: dict[signal.Signals, Any] = {}

    def take_over(self, trainer: pl.Trainer) -> None:
        """Replaces Lightning's signal handlers, but no others.

        Whichever process receives the signal, all of them stop before the same batch, and never between the batches of
        one optimiser step.
        """
        if relay := RELAY.get():
            relay.runs.append(self)
            self.asked, self.heeded = relay.asked, True
        handlers = {"stop": self.stop, "requeue": self.stop_and_requeue}
        for name, number in heeded_signals(trainer, slurm.warned).items():
            self.taken[number] = signal.signal(number, handlers[name])
            self.heeded = True
        before_each_batch(trainer, lambda: self.stop_together(trainer))

    def give_back(self) -> None:
        """Puts the former handlers back. A signal that came since the last batch is given to them."""
        for number, handler in self.taken.items():
            signal.signal(number, handler)
        if self.taken and self.asked and not self.asked_for_requeue:
            os.kill(os.getpid(), signal.SIGTERM)
        self.taken, self.heeded = {}, False

    def stop(self, *_: Any) -> None:
        self.asked = True
        if self.at_once:
            self.at_once = False
            raise SIGTERMException

    def stop_and_requeue(self, *_: Any) -> None:
        self.asked_for_requeue = True
        self.stop()

    def begin_validation_batch(self, trainer: pl.Trainer) -> None:
        """Raises SIGTERMException in every process if any received a signal. If this process is the only one, a signal
        within the batch raises it there: a validation changes nothing that training goes on from."""
        self.noise = torch.get_rng_state()
        if self.asked_anywhere(trainer):
            raise SIGTERMException
        if trainer.world_size == 1 and self.taken:
            self.at_once = True

    def asked_anywhere(self, trainer: pl.Trainer) -> bool:
        """Whether any process received a signal. Synchronises all processes."""
        return trainer.strategy.reduce_boolean_decision(self.asked, all=False)

    def stop_together(self, trainer: pl.Trainer) -> None:
        """Raises SIGTERMException in every process if any received a signal and no gradients wait for a step."""
        if not gradients_are_kept(trainer) and self.asked_anywhere(trainer):
            raise SIGTERMException

    def restore_noise(self) -> None:
        """Sets the noise of before the validation batch that a signal has stopped, which has its own."""
        if self.noise is not None:
            torch.set_rng_state(self.noise)

    def requeue(self, trainer: pl.Trainer) -> None:
        """Requeues this job if SLURM asked for the stop. Call after the run is saved."""
        if self.asked_for_requeue and trainer.is_global_zero:
            slurm.requeue()
