"""Settings of a process, and whether it is the first of its run."""

import ctypes
import logging
import os
import warnings
from contextlib import suppress
from contextvars import ContextVar

import torch
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.console import protect_streams


def prepare_process() -> None:
    """Sets up a process that will train, test or start others. To be called before anything else."""
    protect_streams()
    if not embedded.get():
        keep_freed_memory()
    # A setting of each thread, inherited by those that the first parallel operation starts.
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        # Set by Lightning: torch then looks for the driver's library at every step of an optimiser, 0.4 ms.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # torch.compile, without a GPU
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # debug=profiler prints here
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own, at every fit
    warnings.filterwarnings("ignore", "(?s).*exists and is not empty.*")  # a resumed run's checkpoints
    warnings.filterwarnings("ignore", "(?s).*dirpath has changed.*")  # those of a run that was moved
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # makes Hydra raise its errors instead of printing them


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Lets this process keep the memory of freed tensors for the next ones, under Linux's C library.

    It would give every tensor of 32 MiB or more back to the system, which clears its pages again at the next step: half
    the time of a step with K = 8,192. Who has set the allocator by variables of the environment keeps that.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ):
        return
    with suppress(AttributeError, OSError, TypeError):  # another system or C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**28)
        mallopt(M_TRIM_THRESHOLD, 2**30)


def is_first() -> bool:
    """Whether this process has rank 0 in its run, as torchrun, SLURM or Lightning says.

    On a second machine Lightning itself gives rank 0 to the process that starts the others there.
    """
    return getattr(rank_zero_only, "rank", 0) == 0 and ("RANK" in os.environ or os.environ.get("NODE_RANK", "0") == "0")


embedded: ContextVar[bool] = ContextVar("embedded", default=False)
"""Whether a command runs within somebody else's process, a notebook's, say."""
