"""The gate at which the benchmark stops and releases contenders. Plain torch, so that a loop by hand stays one."""

import os
import resource
import sys
import time
from pathlib import Path

import torch


class Gate:
    """Waits before every block of steps until the benchmark releases it.

    Reports the seconds of the block, a GPU's queued work included, and the process's peak memory in MiB: of the GPU
    where one is used, resident otherwise. BENCHMARK_GATE holds the file descriptors to read and to write, and the
    steps of a block.
    """

    def __init__(self) -> None:
        release, report, self.block = map(int, os.environ["BENCHMARK_GATE"].split())
        self.release, self.report = os.fdopen(release), os.fdopen(report, "w")
        self.step = 0
        self.started = time.perf_counter()

    def pass_step(self) -> None:
        """To be called before every optimiser step."""
        if self.step % self.block == 0:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            measured = f"{time.perf_counter() - self.started} {peak_memory()}" if self.step else "ready"
            print(measured, file=self.report, flush=True)
            if not self.release.readline():
                sys.exit("the benchmark has ended")
            self.started = time.perf_counter()
        self.step += 1


def peak_memory() -> float:
    """The peak so far, MiB: of tensors on a GPU, or else of resident memory."""
    if torch.cuda.is_initialized() and (most := torch.cuda.max_memory_allocated()):
        return most / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux getrusage includes the peak of the parent process
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
