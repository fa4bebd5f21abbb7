"""Loggers: one option of the group `logger` a file, and what they show beside numbers."""

from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.loggers.wandb_run import WandbRun

__all__ = ["MetricsCSV", "WandbRun"]
