"""Paths on the command line: which settings are paths, what folder a word names, and how Hydra is told.

A folder may have any name, `logs/a=b,c (1)` included, and Hydra's grammar gives many characters a meaning. So the value
of a setting that is a path is its text, as the shell gave it, unless it is quoted for Hydra as a whole; `${…}` in it is
resolved, and `~` at its beginning is the home directory. What Hydra gets is quoted where its grammar needs that.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.overrides import multirun, quoted, unquoted

READ = ("resume", "run", "sweep.resume", "evaluation.run")
"""Folders that are there already."""

WRITTEN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "search.dir")

NAMES = re.compile(
    r"paths\.\w+|(?:callbacks|logger|data|trainer)\.(?:.+\.)?(?:dirpath|folder|path|root|\w+_dir)", re.ASCII
)
"""Settings of the groups that are paths; those of a user's own options have to be named so."""

CONFIG_DIR = ("--config-dir", "-cd")


def is_path(name: str) -> bool:
    """Whether a setting, by its dotted name, is a path."""
    return name in (*READ, *WRITTEN) or NAMES.fullmatch(name) is not None


def quote_paths(words: Sequence[str]) -> list[str]:
    """A command line for Hydra: its words, with every path quoted where Hydra's grammar needs that.

    In a sweep, choices (`paths.data_dir=a,b`) stay choices, but for the folders that the sweep itself has.
    """
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equal, value = word.partition("=")
        if flag in CONFIG_DIR:
            value = value if equal else next(rest, None)
            # Absolute, so that no folder looks like an option.
            found += [CONFIG_DIR[0]] if value is None else [CONFIG_DIR[0], os.path.abspath(os.path.expanduser(value))]
        else:
            found.append(quote_path(word, multirun(words)))
    return found


def quote_path(word: str, sweeping: bool = False) -> str:
    """One word of a command line as Hydra takes it; those that set no path as they are."""
    key, equal, value = word.partition("=")
    name = key.lstrip("+")
    if not equal or not is_path(name) or value.lower() == "null":
        return word
    if sweeping and name.startswith(("paths.", "callbacks.", "logger.", "data.", "trainer.")) and is_choice(value):
        return word
    if "LOCAL_RANK" in os.environ and re.fullmatch('".*"', value, re.DOTALL):  # Lightning's own, which escapes nothing
        return f"{key}={in_grammar(value[1:-1])}"
    text = folder(name, value)
    if name in READ and os.path.lexists(text):
        text = verbatim(text)
    return f"{key}={in_grammar(text)}"


def folder(name: str, value: str) -> str:
    """The folder that the value of a setting names. Of those that are read, the reading that is there counts."""
    first, other = unquoted(value), hydra_value(value)
    readings = [expanded(first), first, value, *([other] if isinstance(other, str) else [])]
    there = [reading for reading in readings if reading and os.path.lexists(reading)]
    return there[0] if name in READ and there else readings[0]


def expanded(path: str) -> str:
    """With the home directory for `~`, and under a name that neither Hydra nor a later reading takes for other."""
    path = os.path.expanduser(path)
    return f"./{path}" if path == "???" else path  # which OmegaConf takes for a value that is missing


def verbatim(text: str) -> str:
    """Text that OmegaConf leaves as it is, `${…}` included."""
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", text)


def in_grammar(text: str) -> str:
    """A value that Hydra's grammar reads as this text: itself, where that is enough."""
    return text if hydra_value(text) == text else quoted(text)


def hydra_value(value: str) -> Any:
    """What a value is for Hydra's grammar; None where it is nothing."""
    try:
        return OverridesParser.create().parse_override(f"x={value}").value()
    except HydraException:
        return None


def is_choice(value: str) -> bool:
    """Whether Hydra's grammar takes a value for several, one for each job of a sweep."""
    try:
        return OverridesParser.create().parse_override(f"x={value}").is_sweep_override()
    except HydraException:
        return False


def path_argument(name: str) -> Path | None:
    """The folder that `name=…` gives on this command line, whose paths are quoted; None for none, and for null."""
    values = [word.partition("=")[2] for word in sys.argv[1:] if word.lstrip("+").startswith(f"{name}=")]
    if not values or values[-1].lower() == "null":
        return None
    return Path(re.sub(r"(\\*)\\\$\{", lambda match: f"{match[1][::2]}${{", unquoted(values[-1])))


def set_from_start(config: DictConfig, start: str | os.PathLike[str]) -> None:
    """Makes the paths of a configuration mean what they meant where the command was started, wherever the job runs
    (`hydra.job.chdir`), with the home directory for `~`."""
    for name in sorted(path_settings(config), key=lambda name: not name.startswith("paths.")):
        try:
            value = OmegaConf.select(config, name)
        except OmegaConfBaseException:  # which is said where the setting is used
            continue
        if not isinstance(value, str) or not value:
            continue
        path = os.path.expanduser(value)
        if Path.cwd() != Path(start).absolute() and not os.path.isabs(path):
            path = os.path.join(start, path)
        if path != value:
            OmegaConf.update(config, name, verbatim(path))


def path_settings(config: DictConfig) -> list[str]:
    """The dotted names of a configuration's settings that are paths."""

    def below(node: Any, prefix: str) -> list[str]:
        if isinstance(node, dict):
            return [name for key in node for name in below(node[key], f"{prefix}.{key}" if prefix else str(key))]
        return [prefix] if isinstance(node, str) and is_path(prefix) else []

    return below(OmegaConf.to_container(config), "")
