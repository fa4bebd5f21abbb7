"""The time of a training step."""

import time
from collections.abc import Callable

import torch
from torch import Tensor


def timed_step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> float:
    """Seconds of one training step: loss, backward, optimiser."""
    started = time.perf_counter()
    value = loss()
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return time.perf_counter() - started
