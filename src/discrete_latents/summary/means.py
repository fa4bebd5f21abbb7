"""Means over seeds, and which of their differences are beyond the noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""97.5 % quantiles of Student's t, of 1 to 30 degrees of freedom."""


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, for degrees of freedom rounded down, and 30 at most: rather too wide."""
    return STUDENT[min(max(1, math.floor(freedom)), len(STUDENT)) - 1]


@dataclass(frozen=True)
class MetricMean:
    """A metric over runs. error: standard error of the mean, std(ddof=1) / √count; None for a single run. best: it is
    the best of those measured alike, or the seeds cannot tell it from the best; of none where they tell no two apart.
    """

    mean: float
    error: float | None
    count: int
    published: tuple[float, str] | None = None  # value, source
    best: bool = False


def differ(first: MetricMean, second: MetricMean) -> bool | None:
    """Whether the 95 % interval of the difference of two means excludes 0 (Welch's t); None where one has no error."""
    if first.error is None or second.error is None:
        return None
    squares = first.error**2, second.error**2
    difference, variance = abs(first.mean - second.mean), sum(squares)
    if variance == 0:
        return difference > 0
    spread = sum(square**2 / (each.count - 1) for square, each in zip(squares, (first, second), strict=True))
    freedom = variance**2 / spread if spread else len(STUDENT)
    return difference > student(freedom) * math.sqrt(variance)


def among_best(best: MetricMean, others: Sequence[MetricMean]) -> list[bool] | None:
    """Which of the others cannot be told from the best; None where the best can be told from none of them."""
    told = [differ(best, other) for other in others]
    return [found is False for found in told] if True in told else None
