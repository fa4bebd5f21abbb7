"""Finished runs below a folder: their results and settings, which of them count, and in what they differ."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.allowed_references import without_refused
from discrete_latents.config.changes import HISTORY, changed_before
from discrete_latents.config.migration import renamed, upgraded
from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.files import read_json
from discrete_latents.secrecy import masked

SEED = re.compile(r"(^|[._])seed$")
FIRST = ("experiment", "latent", "evaluation", "eval_samples")
"""Always shown where they differ, in this order."""
APART = ("hydra", "paths", "logger", "launcher", "resume", HISTORY, "sweep", "traceback", "trust")
"""Groups that say where and how a run is written; not compared."""


class Unusable(Exception):
    """Says why a run does not count."""


@dataclass(eq=False)
class FinishedRun:
    """A completed run, or a completed evaluation of a run.

    Args:
        folder: where its results.json lies.
        home: folder of the run itself, which is not `folder` for an evaluation.
        metrics: by name, and after them seconds, epochs and the other numbers of results.json.
        settings: by dotted key; leaves of the configuration, options of its groups, entries of results.json.
        compared: the keys of `settings` that identify the run; the others follow from these, or were measured.
        given: the keys given on its command line.
    """

    folder: Path
    home: Path
    metrics: dict[str, float]
    settings: dict[str, Any]
    compared: list[str]
    given: list[str]

    def values(self, keys: Iterable[str]) -> tuple[Any, ...]:
        return tuple(self.settings.get(key) for key in keys)

    @property
    def seeds(self) -> dict[str, Any]:
        return {key: self.settings[key] for key in self.compared if SEED.search(key)}

    @property
    def identity(self) -> tuple[Any, ...]:
        return tuple((key, self.settings[key]) for key in sorted(self.compared))


def find(paths: Sequence[Path]) -> tuple[list[FinishedRun], dict[Path, str]]:
    """The completed runs and evaluations at or below the paths, and, by folder, why others do not count."""
    runs: list[FinishedRun] = []
    refused: dict[Path, str] = {}
    files = {os.path.realpath(file): file for path in paths for file in candidates(path)}
    for file in sorted(files.values(), key=lambda file: natural(str(file.parent))):
        try:
            runs.append(read_run(file))
        except Unusable as reason:
            refused[file.parent] = str(reason)
    return runs, refused


def newest(runs: Sequence[FinishedRun]) -> tuple[list[FinishedRun], dict[Path, str]]:
    """The newest of the runs with the same settings and seeds, and, by folder, why the others do not count: a repeated
    run is no further evidence."""
    last: dict[tuple[Any, ...], FinishedRun] = {}
    for run in sorted(runs, key=lambda run: RunDirectory(run.folder).results.stat().st_mtime_ns):
        last[run.identity] = run
    kept = [run for run in runs if last[run.identity] is run]
    repeated = {
        run.folder: f"the same settings and seed as {last[run.identity].folder}, which is newer"
        for run in runs
        if last[run.identity] is not run
    }
    return kept, repeated


def candidates(path: Path) -> Iterator[Path]:
    """The results.json of every run and evaluation at or below a path, whether it exists or not."""
    if os.path.isfile(path):
        yield path
    for folder in folders(path):
        run = RunDirectory(folder)
        if os.path.lexists(run.results) or os.path.isfile(run.config) or run.home is not run:
            yield run.results


def folders(path: Path) -> Iterator[Path]:
    """A folder and all below it, however deep, without links and what may not be read."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                waiting += [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        yield folder


def read_run(file: Path) -> FinishedRun:
    """The run of a results.json. Raises Unusable where the run does not count."""
    try:
        results = masked(read_json(file, file.name))
    except FileNotFoundError:
        raise Unusable(f"no {file.name}: failed, stopped or still running") from None
    except UserError as error:
        raise Unusable(str(error)) from error
    if results.get("status") != "completed":
        error = " ".join(str(results.get("error") or "").split())
        raise Unusable(f"status {results.get('status', 'missing')}{': ' * bool(error)}{error}")
    metrics = results.get("metrics")
    if not isinstance(metrics, dict) or not metrics or not all(type(v) in (int, float) for v in metrics.values()):
        raise Unusable(f"{file.name} is damaged: its metrics are not numbers by name")
    folder = file.parent
    home = RunDirectory(folder).home.folder
    try:
        config, choices, given = configuration(home)
        settings, compared = settings_of(results, config, choices, evaluated=home != folder)
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise Unusable(f"its configuration is damaged: {' '.join(str(error).split())}") from error
    return FinishedRun(folder, home, metrics_of(results), settings, compared, given)


def configuration(home: Path) -> tuple[DictConfig, dict[str, str | None], list[str]]:
    """A run's configuration, the options of its groups, and the keys given on its command line; empty where nothing
    was saved. Secrets are masked, and what a saved configuration may not resolve is text."""
    run = RunDirectory(home)
    if not run.hydra.is_dir():
        return OmegaConf.create(), {}, []
    hydra = run.read_hydra()
    overrides: Any = OmegaConf.to_container(hydra.overrides.task)
    settings: dict[str, Any] = without_refused(masked(OmegaConf.to_container(upgraded(run.read_config()))))
    config = OmegaConf.create(settings)
    given = [renamed(override.lstrip("+~").partition("=")[0]) for override in overrides]
    return config, dict(hydra.runtime.choices), [*given, *changed_before(config)]


def metrics_of(results: dict[str, Any]) -> dict[str, float]:
    """The metrics, then the other numbers that were measured (seconds, epochs, …)."""
    known = ("seed", "eval_samples", "learning_rate")
    others = {key: value for key, value in results.items() if type(value) in (int, float) and key not in known}
    return results["metrics"] | others


def settings_of(
    results: dict[str, Any], config: DictConfig, choices: dict[str, str | None], evaluated: bool
) -> tuple[dict[str, Any], list[str]]:
    """All settings by key, and the keys that are compared. evaluated: the results are of an evaluation."""
    described = {key: results[key] for key in ("experiment", "latent", "seed", "eval_samples") if key in results}
    described |= {f"data.{key}": value for key, value in (results.get("data") or {}).items()}
    if evaluated:
        split = next(iter(results["metrics"])).partition("/")[0]
        described["evaluation"] = f"{Path(results['checkpoint']).stem}, {split}"
    own = {key: value for key, value in leaves(OmegaConf.to_container(config)) if "${" not in str(value)}
    compared = {key: plain(value) for key, value in (choices | own | described).items() if not apart(key)}
    measured = {key: value for key, value in leaves(results) if not key.startswith("metrics.")}
    return {**measured, **derived(config), **compared}, list(compared)


def apart(key: str) -> bool:
    return re.split("[./]", key)[0] in APART


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values below a node by dotted key."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", plain(value)


def plain(value: Any) -> Any:
    """A value as YAML writes it: hashable, and ready to be shown."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float) or value is None else str(value)


def derived(config: DictConfig) -> dict[str, Any]:
    """The settings that interpolate another one, resolved."""
    found = {}
    for key, value in leaves(OmegaConf.to_container(config)):
        if "${" in str(value) and not apart(key):
            try:
                target = OmegaConf.select(config, key)
            except OmegaConfBaseException:  # known to a running job alone
                continue
            if not OmegaConf.is_config(target):
                found[key] = plain(target)
    return found


def differing(runs: Sequence[FinishedRun]) -> list[str]:
    """The settings in which runs differ, seeds apart.

    A setting from a command line always counts. Any other counts only where the settings before it do not imply its
    value: the option `latent` implies all that its file sets.
    """
    always = {*FIRST, *(key for run in runs for key in run.given)}
    keys = dict.fromkeys(key for run in runs for key in run.compared if not SEED.search(key))
    found: list[str] = []
    for key in sorted(keys, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key not in always)):
        if len({run.settings.get(key) for run in runs}) > 1 and (key in always or not implied(key, found, runs)):
            found.append(key)
    return found


def implied(key: str, others: Sequence[str], runs: Sequence[FinishedRun]) -> bool:
    """Whether the values of other settings determine the value of this one in all runs."""
    values: dict[tuple[Any, ...], Any] = {}
    return all(values.setdefault(run.values(others), run.settings.get(key)) == run.settings.get(key) for run in runs)


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sorts 10 after 9."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]
