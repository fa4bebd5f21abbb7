"""Logs pictures and histograms to the loggers that show them: W&B and TensorBoard."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch import Tensor


def shows_more(loggers: Iterable[Logger]) -> bool:
    """Whether a logger shows pictures and histograms."""
    return any(isinstance(logger, WandbLogger | TensorBoardLogger) for logger in loggers)


@rank_zero_only
def log_pictures(loggers: Iterable[Logger], pictures: Mapping[str, Path], step: int) -> None:
    """Logs PNG files, each as images/NAME."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            shown: Any = {f"images/{name}": wandb.Image(str(path)) for name, path in pictures.items()}
            logger.log_metrics(shown, step)
        elif isinstance(logger, TensorBoardLogger):
            for name, path in pictures.items():
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image(f"images/{name}", pixels, step, dataformats="HWC")


@rank_zero_only
def log_shares(loggers: Iterable[Logger], name: str, shares: Tensor, step: int) -> None:
    """Logs a histogram of values in [0, 1], in 50 bins."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            counts = np.histogram(shares.flatten().double().cpu().numpy(), bins=50, range=(0, 1))
            shown: Any = {name: wandb.Histogram(np_histogram=counts)}
            logger.log_metrics(shown, step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram(name, shares, step, bins=np.linspace(0, 1, 51))
