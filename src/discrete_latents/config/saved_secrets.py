"""The files that Hydra saves of a command hold no secrets: they are masked before anything else is done.

The other processes that Lightning starts read those files. They get the secrets through their environment.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.allowed_targets import values_by_place
from discrete_latents.config.overrides import hydra_value, key
from discrete_latents.secrecy import MASK, learn, masked

VARIABLE = "DISCRETE_LATENTS_MASKED_SECRETS"
"""The masked settings of the process that started this one, by name, as JSON."""


def learn_overrides(overrides: Iterable[str]) -> None:
    """Masks the secrets of a command line in all text from now on."""
    for override in overrides:
        value = override.partition("=")[2]
        read = hydra_value(value) if "{" in value or value[:1] in "'\"" else value
        learn({key(override): value if read is None else read})


def hide_secrets(config: DictConfig, files: Iterable[Path]) -> None:
    """Masks the secrets of a configuration in saved files, and in all text from now on."""
    settings: Any = OmegaConf.to_container(config)
    learn(settings)
    places = [place for place, value in values_by_place((), masked(settings)) if value == MASK]
    given = {".".join(place): value for place, value in values_by_place((), settings) if place in places}
    with suppress(OmegaConfBaseException):  # said where the setting is used
        learn(OmegaConf.to_container(config, resolve=True))
    os.environ.pop(VARIABLE, None)
    if given:
        os.environ[VARIABLE] = json.dumps(given, default=str)
    for path in files:
        if path.is_file():
            content = OmegaConf.to_container(OmegaConf.load(path))
            if (hidden := masked(content)) != content:
                atomic_write(path, OmegaConf.to_yaml(OmegaConf.create(hidden)))


def restore_secrets(config: DictConfig) -> None:
    """Sets what the process that started this one has masked."""
    unmask(config, json.loads(os.environ.get(VARIABLE, "{}")))
    learn(OmegaConf.to_container(config))


def unmask(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Sets what is masked in a configuration to the values that are known, by name."""
    for name, value in values.items():
        if OmegaConf.select(config, name) == MASK:
            OmegaConf.update(config, name, value)
