"""The project's configurations: where they are, what they hold, and one composed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

PACKAGE = Path(__file__).parent.parent
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent.parent / "configs") if path.is_dir())
"""Inside an installed wheel, or beside src in a checkout."""


def configurations() -> initialize_config_dir:
    """Hydra, with the configurations of the project."""
    return initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="train")


def composed(overrides: Sequence[str] = (), name: str = "train", **how: Any) -> DictConfig:
    """The configuration of a command line. how: further arguments of Hydra's `compose`."""
    with configurations():
        return compose(name, list(overrides), **how)


def group_options() -> dict[str, list[str]]:
    """The options of every group of the project."""
    folders = [path for path in CONFIGS.rglob("*") if path.is_dir()]
    options = {str(path.relative_to(CONFIGS)): sorted(file.stem for file in path.glob("*.yaml")) for path in folders}
    return {group: names for group, names in options.items() if names}


def known_settings(config_name: str, groups: Iterable[str], overrides: Iterable[str]) -> set[str]:
    """Every dotted key of a configuration with the options that overrides choose."""
    return set(dotted(OmegaConf.to_container(composed_with_options(config_name, groups, overrides))))


def composed_with_options(config_name: str, groups: Iterable[str], overrides: Iterable[str]) -> DictConfig:
    """A configuration with the options that overrides choose, and none of their settings."""
    chosen = [override for override in overrides if override.partition("=")[0] in set(groups)]
    try:
        return composed(chosen, config_name)
    except Exception:  # what was chosen is what could not be composed
        return composed((), config_name)


def dotted(node: Any, prefix: str = "") -> list[str]:
    """All keys below a node that a user may set, as a.b.c."""
    if not isinstance(node, dict):
        return []
    keys = [key for key in node if not key.startswith("_")]
    return [name for key in keys for name in (f"{prefix}{key}", *dotted(node[key], f"{prefix}{key}."))]
