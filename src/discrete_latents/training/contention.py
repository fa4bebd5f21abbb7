"""Whether other work wants the processors that a run's threads would use."""

import logging
import os

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)


def contention(threads: int, load: float, processors: int) -> str | None:
    """What to say where more threads would run than there are processors for; None where they fit.

    The threads of one matrix product wait for each other: where one of them has no processor, all stand still. Beside
    other work, two threads were seen to be 20 to 40 times slower than one. load: of the machine, as in os.getloadavg.
    """
    if threads == 1 or load + threads <= processors + 1:
        return None
    free = max(1, min(threads - 1, int(processors - load)))
    return (
        f"{threads} threads on {processors} processors under a load of {load:.1f}: beside other work they wait for "
        f"each other and can be many times slower; set OMP_NUM_THREADS={free}"
    )


def warn_of_contention(trainer: pl.Trainer) -> None:
    """Says before training on a CPU that its threads contend with other work. Silent where the load is unknown."""
    if trainer.strategy.root_device.type != "cpu" or not hasattr(os, "getloadavg"):
        return
    try:
        load = os.getloadavg()[0]
    except OSError:
        return
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if said := contention(torch.get_num_threads(), load, processors):
        rank_zero_only(log.warning)(said)
