"""Checks of user settings: each returns the value or raises a ValueError with its name and the allowed values."""

import math


def positive(name: str, value: float) -> float:
    """`value` as a float. Raises ValueError unless it is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number greater than 0, got {value!r}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """`value` as a float. Raises ValueError unless it is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
    return float(value)


def whole(name: str, value: int, least: int = 1) -> int:
    """`value` unchanged. Raises ValueError unless it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def share(name: str, value: float) -> float:
    """`value` unchanged. Raises ValueError unless it is a number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return value


def finite(name: str, value: float) -> float:
    """`value` as a float. Raises ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def truth(name: str, value: bool) -> bool:
    """`value` unchanged. Raises ValueError unless it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return value
