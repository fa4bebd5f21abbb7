"""Builds objects from a configuration. The only module that calls Hydra's `instantiate`."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.imports import import_mistake
from discrete_latents.config.migration import with_moved_targets
from discrete_latents.config.type_hints import mistakes
from discrete_latents.errors import NotApplicable, UserError, first_line, in_own_code, is_refusal
from discrete_latents.latent import NotDefined

T = TypeVar("T")

MISTAKES = (ValueError, TypeError, OSError, ImportError, MisconfigurationException, OmegaConfBaseException)
"""What a constructor raises for settings that it refuses; anything else is a bug and keeps its traceback."""


def make(config: DictConfig, key: str, **arguments: Any) -> Any:
    """The object that a group of the configuration describes.

    Raises UserError, naming the setting, where the object refuses its settings, and for a `_target_` that cannot be
    imported; NotApplicable for an estimator that is not defined for them. An exception in the user's own code is raised
    as it is, unless it refuses what it was given.
    """
    config = with_moved_targets(config)
    made, own = None, None
    try:
        made = instantiate(config[key], **arguments)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        where = re.search(r"full_key: ([\w.]+)", str(error))
        if located := re.search(r"Error locating target '([\w.]+)'", str(error)):
            said = import_mistake(located[1])
            if isinstance(said, Exception):
                own = said
            else:
                name = f"{as_set(config, where[1] if where else key)}._target_"
                raise UserError(f"{name} = {located[1]}: {said or first_line(cause)}") from error
        elif in_own_code(cause) and not is_refusal(cause):
            own = cause
        else:
            message = locate(config, where[1] if where else key, first_line(cause))
            if isinstance(error, InstantiationException) and " must " not in message:
                check_types(config, key)  # which names the setting
            if not isinstance(cause, (*MISTAKES, InstantiationException)) and "allocate memory" not in message:
                raise cause from error
            refused = NotApplicable if isinstance(cause, NotDefined) else UserError
            raise refused(message) from error
    if own is not None:  # here, so that it has no other context than its own
        raise own
    check_types(config, key)
    return made


def asked_for(config: DictConfig, key: str, offered: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Of the arguments that are offered to the object of a group, those that its signature names and no setting gives.

    offered: by name, a function that makes the argument; the others are not called.
    """
    names = taken_names(config, key)
    return {name: give() for name, give in offered.items() if name in names and name not in config[key]}


def taken_names(config: DictConfig, key: str) -> set[str]:
    """The arguments that the object of a group takes by name; none where it cannot be imported, as `make` says."""
    target = OmegaConf.select(with_moved_targets(config), f"{key}._target_")
    try:
        return accepted_names(get_object(str(target)))
    except Exception:
        return set()


def accepted_names(made_by: Any) -> set[str]:
    """The parameters of a function or a class by their names, and of its bases where it hands on `**kwargs`."""
    names: set[str] = set()
    for kind in made_by.__mro__ if inspect.isclass(made_by) else (made_by,):
        function = vars(kind).get("__init__") if inspect.isclass(kind) else kind
        if function is None:
            continue
        taken = inspect.signature(function).parameters.values()
        names |= {one.name for one in taken}
        if all(one.kind != one.VAR_KEYWORD for one in taken):
            break
    return names


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
