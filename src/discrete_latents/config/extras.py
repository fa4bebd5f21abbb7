"""Packages that are installed only where they are asked for, as pyproject.toml's extras."""

import importlib.util

from omegaconf import DictConfig

from discrete_latents.errors import UserError

LOGGERS = {
    "WandbRun": ("wandb",),
    "WandbLogger": ("wandb",),
    "TensorBoardLogger": ("tensorboard", "tensorboardX"),
}
"""What the classes of loggers need: one of these packages, of which the first is an extra."""


def is_installed(package: str) -> bool:
    """Whether a package can be imported. A folder of that name, as W&B leaves one, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def check_extras(config: DictConfig) -> None:
    """Raises UserError for a logger whose package is not installed, and says what installs it."""
    loggers = config.get("logger")
    for name, settings in loggers.items() if isinstance(loggers, DictConfig) else ():
        kind = str(settings.get("_target_") if isinstance(settings, DictConfig) else "").rpartition(".")[2]
        packages = LOGGERS.get(kind, ())
        if packages and not any(map(is_installed, packages)):
            raise UserError(
                f"logger.{name} needs {packages[0]}, which is not installed: pip install "
                f"'discrete-latents[{packages[0]}]', or leave it out with ~logger.{name}"
            )
