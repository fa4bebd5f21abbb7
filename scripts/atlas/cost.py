"""What a training step costs: its time beside that of a reference, and the memory that it allocates."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from torch.profiler import ProfilerActivity, profile

from scripts.atlas.training import Problem
from scripts.compare_estimators.step_times import REFERENCE, RepeatedStep

REPEATS = 25


def cost(problem: Problem, latent: str) -> dict[str, Any]:
    """Median processor time of a step over that of the reference; the reference's median, in seconds; and MiB.

    Of the processor, since a step that has to wait for it while others compute is no slower estimator.
    """
    own, data = problem.built(latent)
    batch = next(iter(data.train_dataloader()))
    step, reference = RepeatedStep(own, batch), RepeatedStep(problem.built(REFERENCE)[0], batch)
    times = [(seconds(step), seconds(reference)) for _ in range(REPEATS + 3)][3:]  # the first steps allocate
    mine, theirs = (median(column) for column in zip(*times, strict=True))
    memory = peak_bytes(step) / 2**20
    return {"ratio": 1.0 if latent == REFERENCE else mine / theirs, "reference_seconds": theirs, "memory": memory}


def seconds(call: Callable[[], object]) -> float:
    """Processor time of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes of tensors on the CPU that a call allocates and holds at once."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own messages, such as that there is no GPU
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as traced:
        call()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        traced.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak
