"""Estimators by their names."""

import re
from functools import cache
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from discrete_latents.config.compose import CONFIGS, composed, estimator_options
from discrete_latents.errors import UserError
from discrete_latents.latent import Constant, Estimator


def make_estimator(name: str, temperature: float = 1.0, **settings: object) -> Estimator:
    """An option of `latent` as its YAML describes it but for `settings`, at a constant temperature."""
    target = {"_target_": f"{Constant.__module__}.Constant", "start": temperature}
    config = OmegaConf.create({"temperature": target, "latent": OmegaConf.merge(option_settings(name), settings)})
    return instantiate(config.latent)


@cache
def option_settings(name: str) -> dict[str, Any]:
    """What the YAML of an option of `latent` says. Only what starts from another is composed, which takes longer."""
    config = OmegaConf.load(CONFIGS / "latent" / f"{name}.yaml")
    if "defaults" in config:
        config = composed((), f"latent/{name}").latent
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


def matching_estimators(only: str) -> list[str]:
    """The options of `latent` that match the regular expression of --only. Raises UserError for none, and for what is
    no regular expression."""
    try:
        names = [name for name in estimator_options() if re.search(only, name)]
    except re.error as error:
        raise UserError(f"--only {only} is not a regular expression: {error}") from error
    if not names:
        raise UserError(f"--only {only} matches no estimator: {', '.join(estimator_options())}")
    return names
