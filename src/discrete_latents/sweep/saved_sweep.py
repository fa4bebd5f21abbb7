"""Whether what a saved sweep would run may be run: it may be somebody else's."""

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from omegaconf import OmegaConf

from discrete_latents.config.allowed_references import refused_reference
from discrete_latents.config.allowed_targets import check_saved
from discrete_latents.config.compose import composed, with_options_of
from discrete_latents.config.composition_errors import one_line_errors
from discrete_latents.config.overrides import key
from discrete_latents.errors import UserError

OBEYED = re.compile(
    r"hydra/(launcher|job_logging|hydra_logging)=\w+"
    r"|hydra\.(mode|verbose|output_subdir|job\.(num|name|chdir)|(run|sweep)\.dir|sweep\.subdir|sweeper\.params\.[\w.]+)=.*"
    r"|hydra\.launcher\.(n_jobs|size|timeout_min|cpus_per_task|gpus_per_node|tasks_per_node|nodes|mem_gb|array_parallelism"
    r"|partition|qos|account|constraint)=[\w.,:-]*",
    re.DOTALL,
)
"""What a saved sweep may set of Hydra. Other settings run commands or code, such as `hydra.launcher.setup`."""

COMPARED = ("callbacks", "job_logging", "hydra_logging", "launcher", "sweeper", "job.env_set", "job.env_copy")
"""Nodes of Hydra that must be what the project's own configurations make them."""

MOST = 100_000
"""Jobs."""


def check_sweep(overrides: Sequence[str], folders: Sequence[str], trust: Collection[str]) -> None:
    """Raises UserError for a saved sweep of which a job would name what no saved configuration may, or that changes
    Hydra itself.

    overrides: the saved ones. folders: with further options, the saved `--config-dir`.
    """
    own = [item for item in overrides if re.match(r"[+~]*hydra\b", item) or "hydra" in key(item).partition("@")[2]]
    for item in own:
        if not OBEYED.fullmatch(item):
            raise UserError(f"{item} is refused: a saved sweep does not set {key(item)}; give it again")
        if reference := refused_reference(item):
            raise UserError(f"{item} is refused: a saved sweep resolves no {reference}")
    for folder in folders:
        if Path(folder, "train.yaml").exists() or Path(folder, "hydra").exists():
            raise UserError(
                f"--config-dir = {folder} is refused: in a saved sweep it changes Hydra's own configuration"
            )
    launched = [item for item in overrides if key(item) in ("launcher", "hydra/launcher") or "hydra.launcher." in item]
    with with_options_of(()), one_line_errors("train"):
        expected = composed(launched, return_hydra_config=True).hydra
    with with_options_of(folders), one_line_errors("train"):
        for job in distinct([*sweeper_params(own), *(item for item in overrides if item not in own)]):
            config = composed([*launched, *(item for item in job if item not in launched)], return_hydra_config=True)
            for name in COMPARED:
                if OmegaConf.select(config.hydra, name) != OmegaConf.select(expected, name):
                    raise UserError(f"hydra.{name} is refused: an option of a saved sweep changes it")
            settings: Any = OmegaConf.to_container(config)
            del settings["hydra"]
            check_saved(settings, trust)


def sweeper_params(overrides: Sequence[str]) -> list[str]:
    return [item.partition("params.")[2] for item in overrides if item.startswith("hydra.sweeper.params.")]


def distinct(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of the jobs, one for those that differ in numbers alone. Raises UserError for too many jobs."""
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    if math.prod(map(choices, parsed)) > MOST:
        raise UserError(f"the sweep has more than {MOST:,} jobs")
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    found: dict[tuple[str, ...], list[str]] = {}
    for job in jobs:
        numbers = [item for item in job if re.fullmatch(r"[\w.]+=[\d.e+-]+", item)]
        telling = (item for item in job if item not in numbers or loader.get_group_options(key(item)))
        found.setdefault(tuple(telling), job)
    return list(found.values())


def choices(override: Override) -> int:
    """How many values an override has."""
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = (float(part or 0) for part in (value.start, value.stop, value.step or 1))
        return max(0, math.ceil((stop - start) / step)) if step else 0
    return len(value.list) if isinstance(value, ChoiceSweep) else 1
