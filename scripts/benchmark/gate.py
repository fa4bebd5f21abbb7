"""The gate by which `benchmark.py` stops and releases the contenders: nothing in it that a loop by hand has not."""

import os
import resource
import sys
import time
from pathlib import Path

import torch


class Gate:
    """Stops before every block of steps until it is told to go on, and says how long the block took, seconds, a GPU's
    work done, and the most memory that the process ever had, MiB: of the GPU, where it uses one."""

    def __init__(self) -> None:
        told, tell, self.block = map(int, os.environ["BENCHMARK_GATE"].split())
        self.told, self.tell = os.fdopen(told), os.fdopen(tell, "w")
        self.step = 0
        self.started = time.perf_counter()

    def pass_step(self) -> None:
        if self.step % self.block == 0:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            said = f"{time.perf_counter() - self.started} {peak_memory()}" if self.step else "ready"
            print(said, file=self.tell, flush=True)
            if not self.told.readline():
                sys.exit("the benchmark has gone")
            self.started = time.perf_counter()
        self.step += 1


def peak_memory() -> float:
    """The most memory so far, MiB: what tensors took of a GPU, or else what was resident."""
    if torch.cuda.is_initialized() and (most := torch.cuda.max_memory_allocated()):
        return most / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux getrusage counts that of the process that started this one, too
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
