"""A composed configuration as a tree, for people to read."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.syntax import Syntax
from rich.tree import Tree

from discrete_latents.secrecy import masked


def config_tree(config: DictConfig) -> Tree:
    """A branch for each group and setting, groups first, as YAML without secrets; references as written."""
    content: Any = masked(OmegaConf.to_container(config))
    tree = Tree("configuration", guide_style="dim")
    for name in sorted(content, key=lambda name: not isinstance(content[name], dict)):
        if isinstance(content[name], dict):
            yaml = OmegaConf.to_yaml(OmegaConf.create(content[name])).rstrip()
            tree.add(name).add(Syntax(yaml, "yaml", background_color="default"))
        else:
            tree.add(f"{name}: {content[name]}")
    return tree
