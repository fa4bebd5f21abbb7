"""Checks of keys added with `+` on the command line: each must be used by something."""

import inspect
import re
from collections.abc import Iterable, Sequence
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.aliases import meant
from discrete_latents.config.compose import CONFIGS, composed_with_options, dotted, group_options
from discrete_latents.config.overrides import key
from discrete_latents.config.saved import named_config
from discrete_latents.errors import UserError, suggest

FREE = ("callbacks.", "logger.", "search.space.", "hydra.", "hydra/")
"""Prefixes that need no check: Hydra or the object built from them rejects unknown keys."""


def check_additions(config: DictConfig, overrides: Sequence[str], groups: Iterable[str]) -> None:
    """Raises UserError for an unused added key: no argument of an object, and in no `${…}` of the configuration.

    groups: the groups with a chosen option.
    """
    # Iterating a ListConfig would resolve the ${…} in it.
    given: Any = OmegaConf.to_container(overrides) if isinstance(overrides, ListConfig) else overrides
    added = [key(override) for override in given if override.startswith("+") and "=" in override]
    if not added:
        return
    settings = OmegaConf.to_container(config)
    own = {*plain_settings(), *(f"evaluation.{name}" for name in ("run", "ckpt", "split"))}
    read = own | set(interpolated(settings))
    for name in added:
        if name in groups or name.startswith(FREE) or of_an_object(settings, name):
            continue
        if not any(
            name == other or f"{other}.".startswith(f"{name}.") or name.startswith(f"{other}.") for other in read
        ):
            hint = meant(name) or suggest(name, {*own, *dotted(settings)} - {name})
            raise UserError(f"+{name} adds a setting that nothing reads: {hint}")


def plain_settings() -> set[str]:
    """The settings that are read directly and are not arguments of an object."""
    train, paths = (
        OmegaConf.to_container(OmegaConf.load(CONFIGS / name)) for name in ("train.yaml", "paths/default.yaml")
    )
    return {*dotted(train), *(f"paths.{name}" for name in dotted(paths))} - {"defaults", "sweep"}


def of_an_object(node: Any, name: str) -> bool:
    """Whether a dotted name is inside the settings of an object, which rejects unknown arguments."""
    for part in name.split("."):
        if not isinstance(node, dict):
            return False
        if "_target_" in node:
            return True
        node = node.get(part)
    return isinstance(node, dict) and "_target_" in node


def interpolated(node: Any) -> Iterable[str]:
    """The dotted names in all `${…}` of a configuration."""
    if isinstance(node, dict):
        for value in node.values():
            yield from interpolated(value)
    elif isinstance(node, list):
        for value in node:
            yield from interpolated(value)
    elif isinstance(node, str):
        for inner in re.findall(r"\$\{([^{}]*)\}", node):
            yield from re.findall(r"[A-Za-z_][\w.]*", inner)


def missing_arguments(config_name: str, overrides: Sequence[str]) -> set[str]:
    """The settings that the configuration lacks but one of its objects accepts, so that they need `+`."""
    given = {key(override) for override in overrides if "=" in override}
    config = named_config() or composed_with_options(config_name, group_options(), overrides)
    return {name for name in given if addable(name, config)}


def addable(name: str, config: DictConfig) -> bool:
    """Whether a setting missing from a configuration is an argument of its parent object."""
    parent, _, argument = name.rpartition(".")
    try:
        node: Any = OmegaConf.select(config, parent) if parent else None
        return argument not in node and argument in inspect.signature(resolve_name(node._target_)).parameters
    except (ImportError, AttributeError, TypeError, ValueError, OmegaConfBaseException):
        return False
