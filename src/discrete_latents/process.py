"""Settings of a process, and whether it is the first of its run."""

import logging
import os
import warnings
from contextvars import ContextVar

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
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # torch.compile, without a GPU
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # debug=profiler prints here
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own, at every fit
    warnings.filterwarnings("ignore", "(?s).*exists and is not empty.*")  # a resumed run's checkpoints
    warnings.filterwarnings("ignore", "(?s).*dirpath has changed.*")  # those of a run that was moved
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # makes Hydra raise its errors instead of printing them


def is_first() -> bool:
    """Whether this process has rank 0 in its run, as torchrun, SLURM or Lightning says.

    On a second machine Lightning itself gives rank 0 to the process that starts the others there.
    """
    return getattr(rank_zero_only, "rank", 0) == 0 and ("RANK" in os.environ or os.environ.get("NODE_RANK", "0") == "0")


embedded: ContextVar[bool] = ContextVar("embedded", default=False)
"""Whether a command runs within somebody else's process, a notebook's, say."""
