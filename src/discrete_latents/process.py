"""This process: its settings, and whether it is the first of its run."""

import logging
import os
import warnings

import torch
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.console import protect_streams


def prepare_process() -> None:
    """Settings of a process, be it a launcher's, before it does anything else."""
    protect_streams()
    # Per thread, and inherited by the threads of the first parallel operation: so before any.
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        # Lightning has torch look for the GPU driver's library, and optimisers ask for a GPU at every step: 0.4 ms.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # what debug=profiler prints
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own, at every fit
    warnings.filterwarnings("ignore", "(?s).*exists and is not empty.*")  # a resumed run's checkpoints
    warnings.filterwarnings("ignore", "(?s).*dirpath has changed.*")  # those of a run that was moved
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands its errors on instead of printing them


def is_first() -> bool:
    """Whether this process is the only one of its run, or the first, as torchrun, SLURM or Lightning says."""
    return getattr(rank_zero_only, "rank", 0) == 0
