"""Saved configurations: what a run keeps in `.hydra`, and how a command starts from it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discrete_latents.config.compose import CONFIGS, dotted
from discrete_latents.config.overrides import key, quoted
from discrete_latents.config.paths import path_argument, verbatim
from discrete_latents.errors import fail


def use_saved_config(run: Path, output: Path) -> None:
    """Makes Hydra start from a run's own saved configuration, write into `output`, and keep the saved files."""
    saved = run.absolute() / ".hydra"
    for name, part in (("config.yaml", "model"), ("hydra.yaml", "hydra")):
        if not (saved / name).is_file():
            fail(f"{run} is not the directory of a run: it has no .hydra/{name}")
        try:
            readable = part in OmegaConf.load(saved / name)
        except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException):
            readable = False
        if not readable:
            fail(f"{run} is not the directory of a run: its .hydra/{name} cannot be read")
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"hydra"}
    for word in sys.argv[1:]:
        group, value = key(word), word.partition("=")[2]
        if group.split("/")[0] in groups and not value.startswith("{"):
            kept = f"a run keeps its own {group}; single settings can change, as trainer.max_epochs=20"
            fail(f"{group} = {value}: {kept}")
    sys.argv = [sys.argv[0], *saved_config(run, output), *sys.argv[1:]]


def saved_config(run: Path, output: Path) -> list[str]:
    """Makes Hydra start from a run's own saved configuration, write into `output`, and keep the saved files."""
    return [
        "--config-path",
        str(run.absolute() / ".hydra"),
        "--config-name",
        "config",
        f"hydra.run.dir={quoted(verbatim(str(output.absolute())))}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]


def saved_choices(run: Path) -> Mapping[str, str]:
    """The options by which a run was configured, group by group."""
    return OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices


def saved_settings() -> set[str]:
    """Every dotted key of the configuration of the run that the command line names; none where it names none."""
    saved = saved_config_file()
    return set(dotted(OmegaConf.to_container(OmegaConf.load(saved)))) if saved else set()


def saved_config_file() -> Path | None:
    """The configuration of the run that the command line names; None where it names none."""
    run = path_argument("run") or path_argument("evaluation.run") or path_argument("resume")
    saved = run / ".hydra" / "config.yaml" if run else None
    return saved if saved and saved.is_file() else None
