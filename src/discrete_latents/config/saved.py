"""Saved configurations: what a run keeps in `.hydra`, and how a command starts from it."""

import atexit
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discrete_latents.config.compose import CONFIGS, dotted
from discrete_latents.config.migration import upgraded
from discrete_latents.config.overrides import argument, key, quoted
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
        str(config_folder(run)),
        "--config-name",
        "config",
        f"hydra.run.dir={quoted(output.absolute())}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]


def config_folder(run: Path) -> Path:
    """Where a run's configuration is, as this version has it: in the run, or, where an earlier version wrote it, in a
    folder that lasts as long as this process."""
    saved = run.absolute() / ".hydra"
    config: Any = OmegaConf.load(saved / "config.yaml")
    current = upgraded(config)
    if current is config:
        return saved
    folder = Path(mkdtemp(prefix="discrete_latents_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    OmegaConf.save(current, folder / "config.yaml")
    return folder


def saved_choices(run: Path) -> Mapping[str, str]:
    """The options by which a run was configured, group by group."""
    return OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices


def saved_settings() -> set[str]:
    """Every dotted key of the configuration of the run that the command line names; none where it names none."""
    run = argument("run") or argument("evaluation.run") or argument("resume")
    if not run or not (saved := Path(run) / ".hydra" / "config.yaml").is_file():
        return set()
    config: Any = OmegaConf.load(saved)
    return set(dotted(OmegaConf.to_container(upgraded(config))))
