"""Commands that start from the configuration that a run has saved."""

import atexit
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from discrete_latents.config.allowed_targets import (
    Own,
    check_saved,
    check_trust,
    nothing,
    packages_to_trust,
    values_by_place,
)
from discrete_latents.config.changes import changed_before
from discrete_latents.config.compose import CONFIGS, dotted
from discrete_latents.config.migration import upgraded
from discrete_latents.config.overrides import argument, hydra_value, key
from discrete_latents.config.paths import path_argument, path_override
from discrete_latents.config.printed_command import command, program, setting, trust_words
from discrete_latents.errors import UserError, fail
from discrete_latents.runs.directory import RunDirectory, SearchDirectory


def use_saved_config(run: Path, output: Path) -> None:
    """Makes Hydra compose this command from a run's saved configuration. Ends the command for what is no run, and for a
    configuration that names what it may not."""
    try:
        config = checked_config(RunDirectory(run), trusted(), given_again(sys.argv[1:]))
        RunDirectory(run).read_choices()
    except UserError as error:
        fail(str(error))
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"hydra"}
    for override in sys.argv[1:]:
        group, value = key(override), override.partition("=")[2]
        if group.split("/")[0] in groups and not value.startswith("{"):
            kept = f"a run keeps its own {group}; single settings can change, as trainer.max_epochs=20"
            fail(f"{group} = {value}: {kept}")
    sys.argv = [sys.argv[0], *start_from(config, output), *repeatable(sys.argv[1:], config)]


def repeatable(overrides: Sequence[str], config: DictConfig) -> list[str]:
    """Overrides that can be given again once the run's configuration has them: `++a=b` for `+a=b`, and no `~a` of what
    an earlier resume has deleted."""
    deleted = {name for name, change in changed_before(config).items() if "to" not in change}
    forced = [f"+{word}" if word.startswith("+") and not word.startswith("++") else word for word in overrides]
    return [word for word in forced if not (word.startswith("~") and key(word) in deleted)]


def checked_config(
    run: RunDirectory, trust: Collection[str] = (), own: Own = nothing, secrets: bool = True
) -> DictConfig:
    """A run's saved configuration, as this version has it; it trusts nothing itself.

    Raises UserError where it cannot be read, and for what a saved configuration may not name (`check_saved`, whose
    arguments these are).
    """
    config = upgraded(run.read_config())
    try:
        check_saved(OmegaConf.to_container(config), trust, own, secrets)
    except UserError as error:
        raise UserError(f"{run}: {error}") from error
    with open_dict(config):
        config.trust = []
        config.traceback = False
    return config


def trusted() -> tuple[str, ...]:
    """The packages that the command line trusts. Raises UserError as `check_trust` does."""
    value = argument("trust")
    return () if value in (None, "null") else check_trust(hydra_value(value))


def given_again(overrides: Sequence[str]) -> Own:
    """Which settings of a saved configuration a command line replaces or leaves out: those are the user's own."""
    names = {tuple(key(item).split(".")) for item in overrides if "=" in item and not item.startswith("~")}
    left_out = {tuple(key(item).split(".")) for item in overrides if item.startswith("~")}

    def own(place: tuple[str, ...], _: Any) -> bool:
        return place in names or any(place[:length] in left_out for length in range(1, len(place) + 1))

    return own


def same_as(config: DictConfig) -> Own:
    """Which settings of a saved configuration are those of this command's own one."""
    known = dict(values_by_place((), OmegaConf.to_container(config)))
    return lambda place, value: place in known and known[place] == value


def start_from(config: DictConfig, output: Path) -> list[str]:
    """Arguments that make Hydra start from a configuration and write into `output`, where saved files stay as they are.

    They name a copy, which lasts as long as this process. So Hydra, also in the processes that Lightning starts, reads
    what was checked, and nothing else of a run's folder.
    """
    copy = RunDirectory(mkdtemp(prefix="discrete_latents_"))
    atexit.register(shutil.rmtree, copy.folder, ignore_errors=True)
    copy.save_config(config, secrets=True)
    return [
        "--config-path",
        str(copy.hydra),
        "--config-name",
        "config",
        path_override("hydra.run.dir", output.absolute()),
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]


def way_on(folder: str | os.PathLike[str]) -> str | None:
    """How a run goes on, "to go on: python train.py …", with the packages that its configuration needs; None for a
    folder from which none does."""
    run = RunDirectory(folder)
    if not (run.last.is_file() or run.overrides.is_file()):  # without a checkpoint it starts again
        return None
    if SearchDirectory(run.folder.parent).study.is_file():  # of a trial; the search goes on with another
        return None
    packages: set[str] = set()
    with suppress(UserError):
        packages = packages_to_trust(OmegaConf.to_container(run.read_config()))
    return f"to go on: {command(*program('train'), setting('resume', folder), *trust_words(packages))}"


def saved_choices(run: Path) -> Mapping[str, str]:
    """The options that a run was configured with, by group. Raises UserError where they cannot be read."""
    return RunDirectory(run).read_choices()


def saved_settings() -> set[str]:
    """All dotted keys of the saved configuration that the command line names; none where there is none."""
    config = named_config()
    return set(dotted(OmegaConf.to_container(config))) if config is not None else set()


def named_config() -> DictConfig | None:
    """The configuration of the run that the command line names; None where it names none, or one without."""
    run = path_argument("run") or path_argument("evaluation.run") or path_argument("resume")
    try:
        return checked_config(RunDirectory(run), trusted(), given_again(sys.argv[1:])) if run else None
    except UserError:
        return None
