"""Runs that are killed and resumed, against undisturbed ones."""

from scripts.soak.comparison import differences

__all__ = ["differences"]
