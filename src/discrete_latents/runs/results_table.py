"""Prints the results of a run or a sweep as a table, and the paths of a run's files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from discrete_latents.console import console
from discrete_latents.errors import one_line
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.metrics import metric, position

SWEEP_METRICS = ("nll", "nelbo", "accuracy")


def show(results: Mapping[str, Any], run: RunDirectory, here: Path) -> None:
    """Prints a run's command, its metrics, what was trained and how fast, and the files in its directory, relative to
    `here`."""
    out = console()
    out.print()
    if "command" in results:
        out.print(one_line(results["command"]), soft_wrap=True)
    table = Table(title=title(results))
    table.add_column("metric", overflow="fold")
    table.add_column("value", justify="right", overflow="fold")
    table.add_column("", overflow="fold")
    for name in sorted(results["metrics"], key=position):
        table.add_row(name, number(name, results["metrics"][name]), meaning(name, results["eval_samples"]))
    tested = results.get("tested", {})
    for name in sorted(tested.keys() - {"epoch", "step"}):
        where = f"of epoch {tested['epoch']}, which is tested"
        table.add_row(name, number(name, tested[name]), ", ".join(filter(None, (metric(name).unit, where))))
    if "parameters" in results:
        parts = ", ".join(results[part] for part in ("model", "network") if part in results)
        table.add_row("parameters", f"{results['parameters']:,}", parts)
    if results.get("learning_rate") is not None:
        table.add_row("learning rate", f"{results['learning_rate']:.4g}", "that was set")
    if "train_images_per_second" in results:
        speed = metric("train_images_per_second")
        table.add_row("images per second", speed.text(results[speed.name]), speed.meaning)
        duration = metric("seconds").text(results["seconds"])
        table.add_row("seconds", duration, f"{results['epochs']} epochs, {results['steps']} steps")
        if (total := results.get("total_seconds", 0)) > results["seconds"]:
            table.add_row("total seconds", number("seconds", total), "with those before it was resumed")
    out.print(table)
    for path in files(run, here):
        out.print(one_line(str(path)), soft_wrap=True)


def title(results: Mapping[str, Any]) -> str:
    """What was run: experiment, estimator and data, as far as the run has them."""
    data = results.get("data") or {}
    parts = [results.get("experiment"), results.get("latent"), ", ".join(str(value) for value in data.values())]
    return " · ".join(one_line(str(part)) for part in parts if part)


def number(name: str, value: float | None) -> str:
    """A metric's value in a table. results.json has null for what is not finite."""
    return "not finite" if value is None else metric(name).text(value)


def show_sweep(title: str, jobs: Sequence[tuple[int, str, Mapping[str, Any], str]]) -> None:
    """Prints a sweep's jobs: of each its number, the overrides that vary, its results and its status."""
    names = [name for name in SWEEP_METRICS if any(f"test/{name}" in job[2].get("metrics", {}) for job in jobs)]
    table = Table(title=one_line(title))
    table.add_column("job", justify="right")
    table.add_column("settings", overflow="fold")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("status", overflow="fold")
    for number, settings, results, status in jobs:
        values = {name: results.get("metrics", {}).get(f"test/{name}") for name in names}
        cells = ["" if value is None else metric(name).text(value) for name, value in values.items()]
        table.add_row(str(number), one_line(settings), *cells, status)
    out = console()
    out.print()
    out.print(table)


def meaning(name: str, eval_samples: int) -> str:
    """A metric's unit and meaning, as "nats, m = 1"."""
    found = metric(name)
    said = f"m = {eval_samples}" if found.name == "nll" else found.meaning
    return ", ".join(part for part in (found.unit.replace("%", ""), said) if part)


def files(run: RunDirectory, here: Path) -> list[Path]:
    """The files and folders of a run to open, relative to `here` where they are below it."""
    images = sorted(run.images.glob("*.png"))
    paths = [*(path for path in (run.report, run.results, run.metrics, run.checkpoints) if path.exists()), *images]
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in paths]
