"""Settings of a process, and its place among the processes of its run."""

import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.console import protect_streams


def prepare_process() -> None:
    """Sets up a process that will train, test or start others. To be called before anything else."""
    protect_streams()
    # A setting of each thread, inherited by those that the first parallel operation starts.
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        # Set by Lightning: torch then looks for the driver's library at every step of an optimiser, 0.4 ms.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # debug=profiler prints here
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own, at every fit
    warnings.filterwarnings("ignore", "(?s).*exists and is not empty.*")  # a resumed run's checkpoints
    warnings.filterwarnings("ignore", "(?s).*dirpath has changed.*")  # those of a run that was moved
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # makes Hydra raise its errors instead of printing them


def is_first() -> bool:
    """Whether this process has rank 0 in its run, as torchrun, SLURM or Lightning says."""
    return getattr(rank_zero_only, "rank", 0) == 0


STARTED_BY = "DISCRETE_LATENTS_STARTED_BY"
"""The environment variable by which the processes that Lightning starts know the one that starts them."""


@contextmanager
def named_to_others() -> Iterator[None]:
    """Tells the processes that this one starts who started them."""
    former = os.environ.get(STARTED_BY)
    os.environ[STARTED_BY] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(STARTED_BY)
        if former is not None:
            os.environ[STARTED_BY] = former


def first_process() -> int | None:
    """The process that started this one for the same run; None in that process itself, and where another program, such
    as torchrun, started all."""
    started_by = os.environ.get(STARTED_BY, "")
    other = os.environ.get("LOCAL_RANK", "0") != "0"
    return int(started_by) if other and started_by.isdecimal() and int(started_by) != os.getpid() else None


def end_with_first_process() -> None:
    """Ends this process within a second after the one that started it for the same run. Killed, that one leaves it
    waiting for other processes."""
    first = first_process()

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(0.5)
        os._exit(1)

    if first is not None:
        threading.Thread(target=watch, name="first process", daemon=True).start()
