"""Builds objects from a configuration. The only module that calls Hydra's `instantiate`."""

import re
from collections.abc import Iterator
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.migration import with_moved_targets
from discrete_latents.config.type_hints import mistakes
from discrete_latents.errors import UserError, first_line

T = TypeVar("T")

MISTAKES = (ValueError, TypeError, OSError, ImportError, MisconfigurationException, OmegaConfBaseException)
"""What a constructor raises for settings that it refuses; anything else is a bug and keeps its traceback."""


def make(config: DictConfig, key: str, **arguments: Any) -> Any:
    """The object that a group of the configuration describes.

    Raises UserError, naming the setting, where the object refuses its settings.
    """
    config = with_moved_targets(config)
    try:
        made = instantiate(config[key], **arguments)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        where = re.search(r"full_key: ([\w.]+)", str(error))
        message = locate(config, where[1] if where else key, first_line(cause))
        if isinstance(error, InstantiationException) and " must " not in message:
            check_types(config, key)  # which names the setting
        if not isinstance(cause, (*MISTAKES, InstantiationException)) and "allocate memory" not in message:
            raise cause from error
        raise UserError(message) from error
    check_types(config, key)
    return made


def check_types(config: DictConfig, key: str) -> None:
    """Raises UserError for a setting of a group that is not what the object it is given to says that it takes."""
    settings = OmegaConf.to_container(config[key], resolve=True)
    for mistake in mistakes(settings, key):
        name, space, said = mistake.partition(" ")
        raise UserError(f"{as_set(config, name)}{space}{said}")


def as_set(config: DictConfig, name: str) -> str:
    """The name under which a user sets a setting: where it refers to another one, that one's.

    >>> config = OmegaConf.create({"latent": {"temperature": "${temperature}"}, "temperature": {"rate": 0.1}})
    >>> as_set(config, "latent.temperature.rate"), as_set(config, "temperature.rate")
    ('temperature.rate', 'temperature.rate')
    """
    settings, seen = OmegaConf.to_container(config, resolve=False), {name}
    while (other := referred(settings, name)) not in (None, *seen):
        seen.add(name := other)
    return name


def referred(node: Any, name: str) -> str | None:
    """What a dotted name means whose first or a later part is `${another.name}`; None where no part is."""
    parts = name.split(".")
    for index, part in enumerate(parts, 1):
        node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, str) and (other := re.fullmatch(r"\$\{(\w[\w.]*)\}", node)):
            return ".".join([other[1], *parts[index:]])
    return None


def locate(config: DictConfig, group: str, message: str) -> str:
    """A message that starts with the name of a setting, with the place of that setting in front."""
    group = as_set(config, group)
    node = OmegaConf.select(config, group) or {}
    name = message.split()[0]
    parent, _, last = f"{group}.{name}".rpartition(".")
    if re.fullmatch(r"[\w.]+", name) and last in (OmegaConf.select(config, parent) or ()):
        return f"{as_set(config, f'{group}.{name}')}{message.removeprefix(name)}"
    nested = [child for child in node if isinstance(node, DictConfig) and isinstance(node[child], DictConfig)]
    for child in nested:
        if name in node[child]:
            return f"{group}.{child}.{message}"
    return f"{group}: {message}"


def parts(config: DictConfig, key: str, kind: type[T]) -> Iterator[T]:
    """The objects that a group of the configuration describes by their names. Raises UserError for other things."""
    for name, made in make(config, key).items():
        if not isinstance(made, kind):
            raise UserError(
                f"{key}.{name} must be a {kind.__name__}, by its _target_, got {made!r}; ~{key}.{name} leaves it out"
            )
        yield made
