"""A command line of train.py as an experiment, in the format of configs/experiment."""

import re
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from discrete_latents.config.compose import CONFIGS
from discrete_latents.search.space import literal


def as_experiment(overrides: Sequence[str], experiment: str | None, about: str) -> tuple[str, list[str]]:
    """The YAML of an experiment that adds `overrides` to `experiment`, and the overrides that it cannot hold: deletions
    (~), groups that are composed after the experiment, and Hydra's own. Hydra must be initialised.

    about: a comment for the experiment's first line.
    """
    loader = GlobalHydra.instance().config_loader()
    added, chosen, rest = [], [], []
    settings = OmegaConf.create()
    for given, override in zip(overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True):
        key, value = override.key_or_group, override.value()
        if key == "experiment":
            continue
        if override.is_delete() or key in later_groups() or re.match(r"hydra\b", key):
            rest.append(given)
        elif loader.get_group_options(key) and not isinstance(value, dict):
            option = f"/{key}{f'@{override.package}' if override.package else ''}: {literal(value)}"
            if override.is_add():
                added.append(option)
            else:
                chosen.append(f"override {option}")
        else:
            OmegaConf.update(settings, key, value, force_add=True)
    defaults = [*([experiment] if experiment else []), *added, "_self_", *chosen]
    lines = ["# @package _global_", f"# {about}", "defaults:", *(f"  - {entry}" for entry in defaults)]
    for key in settings:
        lines += ["", OmegaConf.to_yaml(OmegaConf.create({key: settings._get_node(key)})).rstrip()]
    return "\n".join(lines) + "\n", rest


def later_groups() -> list[str]:
    """Groups that train.py composes after the experiment, so that an experiment cannot choose their options."""
    groups = [next(iter(entry)) for entry in OmegaConf.load(CONFIGS / "train.yaml").defaults if entry != "_self_"]
    return groups[groups.index("experiment") + 1 :]
