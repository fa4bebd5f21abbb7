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
    """Prints a run's metrics and speed, and the files in its directory, relative to `here`."""
    out = console()
    data = results["data"]
    out.print()
    table = Table(title=f"{results['experiment']} · {results['latent']} · {', '.join(map(str, data.values()))}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("")
    for name in sorted(results["metrics"], key=position):
        table.add_row(name, metric(name).text(results["metrics"][name]), meaning(name, results["eval_samples"]))
    if "train_images_per_second" in results:
        speed = metric("train_images_per_second")
        table.add_row("images per second", speed.text(results[speed.name]), speed.meaning)
        duration = metric("seconds").text(results["seconds"])
        table.add_row("seconds", duration, f"{results['epochs']} epochs, {results['steps']} steps")
    out.print(table)
    for path in files(run, here):
        out.print(one_line(str(path)), soft_wrap=True)


def show_sweep(title: str, jobs: Sequence[tuple[int, str, Mapping[str, Any], str]]) -> None:
    """Prints a sweep's jobs: of each its number, the overrides that vary, its results and its status."""
    names = [name for name in SWEEP_METRICS if any(f"test/{name}" in job[2].get("metrics", {}) for job in jobs)]
    table = Table(title=one_line(title))
    table.add_column("job", justify="right")
    table.add_column("settings")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("status")
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
