"""Commands that start from the configuration that a run has saved."""

import atexit
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

from omegaconf import DictConfig, OmegaConf

from discrete_latents.config.compose import CONFIGS, dotted
from discrete_latents.config.migration import upgraded
from discrete_latents.config.overrides import key
from discrete_latents.config.paths import path_argument, path_override
from discrete_latents.errors import UserError, fail
from discrete_latents.runs.directory import RunDirectory


def use_saved_config(run: Path, output: Path) -> None:
    """Makes Hydra compose this command from a run's saved configuration. Ends the command for what is no run."""
    try:
        RunDirectory(run).read_config()
        RunDirectory(run).read_hydra()
    except UserError as error:
        fail(str(error))
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"hydra"}
    for override in sys.argv[1:]:
        group, value = key(override), override.partition("=")[2]
        if group.split("/")[0] in groups and not value.startswith("{"):
            kept = f"a run keeps its own {group}; single settings can change, as trainer.max_epochs=20"
            fail(f"{group} = {value}: {kept}")
    sys.argv = [sys.argv[0], *saved_config(run, output), *sys.argv[1:]]


def saved_config(run: Path, output: Path) -> list[str]:
    """Arguments that make Hydra start from a run's saved configuration, write into `output`, and leave the saved files
    as they are."""
    return [
        "--config-path",
        str(config_folder(run)),
        "--config-name",
        "config",
        path_override("hydra.run.dir", output.absolute()),
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]


def config_folder(run: Path) -> Path:
    """Where a run's configuration is, as this version has it: in the run, or, where an earlier version wrote it, in a
    folder that lasts as long as this process."""
    saved = RunDirectory(run.absolute())
    config = saved.read_config()
    current = upgraded(config)
    if current is config:
        return saved.hydra
    folder = RunDirectory(mkdtemp(prefix="discrete_latents_"))
    atexit.register(shutil.rmtree, folder.folder, ignore_errors=True)
    folder.save_config(current)
    return folder.hydra


def saved_choices(run: Path) -> Mapping[str, str]:
    """The options that a run was configured with, by group. Raises UserError where they cannot be read."""
    return RunDirectory(run).read_hydra().runtime.choices


def saved_settings() -> set[str]:
    """All dotted keys of the saved configuration that the command line names; none where there is none."""
    config = named_config()
    return set(dotted(OmegaConf.to_container(config))) if config is not None else set()


def named_config() -> DictConfig | None:
    """The configuration of the run that the command line names; None where it names none, or one without."""
    run = path_argument("run") or path_argument("evaluation.run") or path_argument("resume")
    try:
        return upgraded(RunDirectory(run).read_config()) if run else None
    except UserError:
        return None
