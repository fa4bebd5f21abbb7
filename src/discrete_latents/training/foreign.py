"""What is asked of models and data of any kind, whether they are this package's or the user's."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig
from torch.nn.parameter import is_lazy

from discrete_latents.config.instantiate import taken_names
from discrete_latents.data import ImageData
from discrete_latents.data.loaders import has_loader
from discrete_latents.models import LatentModel


def is_foreign(model: pl.LightningModule, data: pl.LightningDataModule) -> bool:
    """Whether either of them is the user's own."""
    return not (isinstance(model, LatentModel) and isinstance(data, ImageData))


def names_of(config: DictConfig, chosen: Mapping[str, str]) -> Mapping[str, str]:
    """The names of a run in results.json, from those of the chosen options: a model that asks for no estimator has the
    latent "none"."""
    return chosen if "estimator" in taken_names(config, "model") else {**chosen, "latent": "none"}


def description(data: pl.LightningDataModule) -> dict[str, str]:
    """The data in results.json."""
    return data.description if isinstance(data, ImageData) else {"name": type(data).__name__}


def untested(model: pl.LightningModule, data: pl.LightningDataModule, split: str = "test") -> str | None:
    """Why a model cannot be tested on a split; None where it can."""
    if not is_overridden("test_step", model):
        return f"{type(model).__name__} has no test_step"
    return None if has_loader(data, split) else f"{type(data).__name__} has no {split}_dataloader"


def evaluate_on(data: Any, split: str) -> None:
    """Makes a test use a split, val or test."""
    if isinstance(data, ImageData):
        data.test_split = split
    elif split == "val":
        data.setup("validate")
        data.test_dataloader = data.val_dataloader


def has_fixed_weights(model: pl.LightningModule) -> bool:
    """Whether a model has all its weights as soon as it is made, so that a checkpoint can be compared with them."""
    later = ("setup", "configure_model", "on_load_checkpoint", "load_state_dict")
    lazy = any(is_lazy(weight) for weight in (*model.parameters(), *model.buffers()))
    return isinstance(model, LatentModel) or not (lazy or any(is_overridden(name, model) for name in later))


def count_parameters(model: pl.LightningModule) -> int:
    """The trained parameters, without those that get their size later."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad and not is_lazy(p))
