"""The interval of a mean over seeds."""

from collections.abc import Sequence
from statistics import stdev

from discrete_latents.summary.means import student


def half_interval(values: Sequence[float]) -> float | None:
    """Half the 95 % interval of a mean over seeds, by Student's t; None for one seed."""
    if len(values) < 2:
        return None
    return student(len(values) - 1) * stdev(values) / len(values) ** 0.5
