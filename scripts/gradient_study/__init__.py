"""Bias and variance of every estimator's gradient."""

COPIES = 50
"""Of each image in a batch: so many draws at once."""
