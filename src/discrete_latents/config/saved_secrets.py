"""The files that Hydra saves of a command hold no secrets: they are masked before anything else is done.

The other processes that Lightning starts read those files, and those that a launcher starts a pickle. They get the
secrets through their environment.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.allowed_targets import values_by_place
from discrete_latents.config.overrides import hydra_value, key
from discrete_latents.errors import UserError
from discrete_latents.secrecy import MASK, learn, masked, masked_override

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
    given = secret_values(settings)
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


def secret_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are masked in settings, by the settings' names."""
    places = [place for place, value in values_by_place((), masked(settings)) if value == MASK]
    return {".".join(place): value for place, value in values_by_place((), settings) if place in places}


def hand_over_secrets(config: DictConfig) -> None:
    """Masks the secrets of a sweep in what its launcher pickles, for jobs that have this process's environment.

    Raises UserError for a secret that varies over the jobs.
    """
    settings: Any = OmegaConf.to_container(config)
    task: list[str] = settings["hydra"]["overrides"]["task"]
    secret = [override for override in task if masked_override(override) != override]
    for override in OverridesParser.create().parse_overrides(secret):
        if override.is_sweep_override():
            raise UserError(
                f"{key(str(override.input_line))} is a secret that varies, which {config.hydra.launcher._target_} "
                "would write into its files; give it as ${oc.env:VARIABLE}, or leave the launcher out"
            )
    given = secret_values({name: value for name, value in settings.items() if name != "hydra"})
    learn(settings)
    hydra = {place: value for place, value in values_by_place(("hydra",), settings["hydra"]) if isinstance(value, str)}
    with open_dict(config), read_write(config.hydra), read_write(config):
        for name in given:
            OmegaConf.update(config, name, MASK)
        for place, value in hydra.items():
            if (hidden := masked_override(value)) != value:
                OmegaConf.update(config, ".".join(place), hidden)
    os.environ[VARIABLE] = json.dumps(given, default=str)


def restore_secrets(config: DictConfig) -> None:
    """Sets what the process that started this one has masked."""
    unmask(config, json.loads(os.environ.get(VARIABLE, "{}")))
    learn(OmegaConf.to_container(config))


def unmask(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Sets what is masked in a configuration to the values that are known, by name."""
    for name, value in values.items():
        if OmegaConf.select(config, name) == MASK:
            OmegaConf.update(config, name, value)
