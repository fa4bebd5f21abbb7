"""Checks of numbers that a user sets: the value itself, or a ValueError that names it and what is allowed."""

import math


def positive(name: str, value: float) -> float:
    """`value` as a float. Raises ValueError unless it is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number greater than 0, got {value!r}")
    return float(value)


def whole(name: str, value: int, least: int = 1) -> int:
    """`value` itself. Raises ValueError unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value
