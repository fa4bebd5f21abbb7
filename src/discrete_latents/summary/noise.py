"""Which differences between means over seeds are beyond their noise."""

import math
from collections.abc import Sequence
from typing import Protocol

STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""97.5 % quantiles of Student's t, of 1 to 30 degrees of freedom."""


class MeanWithError(Protocol):
    """A mean over `count` runs, and its standard error; None for one run."""

    @property
    def mean(self) -> float: ...
    @property
    def error(self) -> float | None: ...
    @property
    def count(self) -> int: ...


def differ(first: MeanWithError, second: MeanWithError) -> bool | None:
    """Whether the 95 % interval of the difference of two means excludes 0 (Welch's t); None where one has no error.

    The degrees of freedom are rounded down, and 30 at most: the interval is rather too wide than too narrow.
    """
    if first.error is None or second.error is None:
        return None
    squares = first.error**2, second.error**2
    difference, variance = abs(first.mean - second.mean), sum(squares)
    if variance == 0:
        return difference > 0
    spread = sum(square**2 / (each.count - 1) for square, each in zip(squares, (first, second), strict=True))
    freedom = min(max(1, math.floor(variance**2 / spread)), len(STUDENT)) if spread else len(STUDENT)
    return difference > STUDENT[freedom - 1] * math.sqrt(variance)


def among_best(best: MeanWithError, others: Sequence[MeanWithError]) -> list[bool] | None:
    """Which of the others cannot be told from the best; None where the best can be told from none of them."""
    told = [differ(best, other) for other in others]
    return [found is False for found in told] if True in told else None
