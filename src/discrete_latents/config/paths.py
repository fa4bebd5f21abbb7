"""Paths on the command line: which settings are paths, which folder an override names, and how to quote it for Hydra.

A folder may have any name, such as `logs/a=b,c (1)`, but many characters have a meaning in Hydra's grammar. So a path
is read literally, as the shell passed it, unless the whole value is quoted for Hydra. `${…}` is resolved, and a leading
`~` is the home directory. The path is quoted for Hydra where its grammar needs that.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.overrides import hydra_value, multirun, parsed, quoted, unquoted, value_of

READ = ("resume", "run", "sweep.resume", "evaluation.run", "weights", "tokenizer")
"""Settings that name existing folders."""

WRITTEN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "search.dir")

NAMES = re.compile(
    r"paths\.\w+|(?:callbacks|logger|data|trainer)\.(?:.+\.)?(?:dirpath|folder|path|root|\w+_dir)", re.ASCII
)
"""Path settings of the groups. Path settings of a user's own options must match too."""

CONFIG_DIR = ("--config-dir", "-cd")


def is_path(name: str) -> bool:
    """Whether the setting with this dotted name is a path."""
    return name in (*READ, *WRITTEN) or NAMES.fullmatch(name) is not None


def quote_paths(words: Sequence[str]) -> list[str]:
    """The command line for Hydra, with paths quoted where its grammar needs that.

    In a sweep, choices (`paths.data_dir=a,b`) stay choices, except for the sweep's own folders.
    """
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equal, value = word.partition("=")
        if flag in CONFIG_DIR:
            value = value if equal else next(rest, None)
            # Absolute, so that a folder cannot look like an option.
            found += [CONFIG_DIR[0]] if value is None else [CONFIG_DIR[0], os.path.abspath(os.path.expanduser(value))]
        else:
            found.append(quote_path(word, multirun(words)))
    return found


def quote_path(word: str, sweeping: bool = False) -> str:
    """One override, quoted for Hydra if it sets a path; others are unchanged."""
    key, equal, value = word.partition("=")
    name = key.lstrip("+")
    if not equal or not is_path(name) or value.lower() == "null":
        return word
    if sweeping and name.startswith(("paths.", "callbacks.", "logger.", "data.", "trainer.")) and is_choice(value):
        return word
    if "LOCAL_RANK" in os.environ and re.fullmatch('".*"', value, re.DOTALL):  # from Lightning, which does not escape
        return f"{key}={in_grammar(value[1:-1])}"
    text = folder(name, value)
    if name in READ and os.path.lexists(text):
        text = verbatim(text)
    return f"{key}={in_grammar(text)}"


def folder(name: str, value: str) -> str:
    """The folder that a value names. For a setting in `READ`, the interpretation that exists wins."""
    first, other = unquoted(value), hydra_value(value)
    readings = [expanded(first), first, value, *([other] if isinstance(other, str) else [])]
    there = [reading for reading in readings if reading and os.path.lexists(reading)]
    return there[0] if name in READ and there else readings[0]


def expanded(path: str) -> str:
    """Expands `~`, and makes the name unambiguous to OmegaConf."""
    path = os.path.expanduser(path)
    return f"./{path}" if path == "???" else path  # OmegaConf's missing value


def verbatim(text: str) -> str:
    """Text escaped so that OmegaConf leaves it unchanged, `${…}` included."""
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", text)


def path_override(name: str, path: str | os.PathLike[str]) -> str:
    """The override that sets a setting to exactly this path, for Hydra and OmegaConf alike."""
    return f"{name}={quoted(verbatim(str(path)))}"


def in_grammar(text: str) -> str:
    """A value that Hydra's grammar reads as this text, quoted only if necessary."""
    return text if hydra_value(text) == text else quoted(text)


def is_choice(value: str) -> bool:
    """Whether Hydra's grammar reads a value as several, one per job of a sweep."""
    override = parsed(value)
    return override is not None and override.is_sweep_override()


def path_argument(name: str) -> Path | None:
    """The folder set by `name=…` on this command line, whose paths are already quoted; None if unset or null."""
    value = value_of(name, sys.argv[1:])
    if value is None or value.lower() == "null":
        return None
    return Path(re.sub(r"(\\*)\\\$\{", lambda match: f"{match[1][::2]}${{", unquoted(value)))


def set_from_start(config: DictConfig, start: str | os.PathLike[str]) -> None:
    """Resolves relative paths against the directory in which the command was started, and expands `~`.

    The job may run elsewhere (`hydra.job.chdir`).
    """
    for name in sorted(path_settings(config), key=lambda name: not name.startswith("paths.")):
        try:
            value = OmegaConf.select(config, name)
        except OmegaConfBaseException:  # reported where the setting is used
            continue
        if not isinstance(value, str) or not value:
            continue
        path = os.path.expanduser(value)
        if Path.cwd() != Path(start).absolute() and not os.path.isabs(path):
            path = os.path.join(start, path)
        if path != value:
            OmegaConf.update(config, name, verbatim(path))


def path_settings(config: DictConfig) -> list[str]:
    """The dotted names of a configuration's path settings."""

    def below(node: Any, prefix: str) -> list[str]:
        if isinstance(node, dict):
            return [name for key in node for name in below(node[key], f"{prefix}.{key}" if prefix else str(key))]
        return [prefix] if isinstance(node, str) and is_path(prefix) else []

    return below(OmegaConf.to_container(config), "")
