"""Loggers: one option of the group `logger` a file, and pictures and histograms in them."""

from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.loggers.wandb_run import WandbRun

__all__ = ["MetricsCSV", "WandbRun"]
