"""What is used of the configuration that Hydra saved of itself: names and overrides, as plain values.

Nothing else of it is obeyed: it says which callbacks, loggers, variables and search paths a process has.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

USED = {
    "job": ("num", "name", "config_name"),
    "overrides": ("task", "hydra"),
    "runtime": ("choices", "config_sources"),
}


def used_of_hydra(saved: Any) -> DictConfig:
    """The used part of a file with a node `hydra`. Overrides keep their ${…}; nothing else has any.

    Raises ValueError for a file that is none, or in which this part is damaged.
    """
    content: Any = OmegaConf.to_container(saved) if isinstance(saved, DictConfig) else {}
    if not isinstance(content.get("hydra"), dict):
        raise ValueError("it has no settings of Hydra")
    found: dict[str, dict[str, Any]] = {}
    for group, names in USED.items():
        node = content["hydra"].get(group, {})
        if not isinstance(node, dict):
            raise ValueError(f"hydra.{group} must be settings by their names")
        found[group] = {name: node[name] for name in names if name in node}
        if not node:
            del found[group]
    overrides, choices = found.get("overrides", {}), found.get("runtime", {}).get("choices", {})
    if not all(isinstance(given, list) and all(isinstance(one, str) for one in given) for given in overrides.values()):
        raise ValueError("hydra.overrides must be lists of text")
    if not isinstance(choices, dict) or "${" in f"{choices} {found.get('job')}":
        raise ValueError("hydra.runtime.choices must be names by their groups")
    return OmegaConf.create(found)
