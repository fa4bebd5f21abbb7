"""The table of a summary: means and standard errors over seeds, results of papers, and the best of each metric."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from omegaconf import OmegaConf

from discrete_latents.runs.metrics import direction, scale, short, unit
from discrete_latents.summary.finished_runs import FinishedRun, differing, leaves
from discrete_latents.summary.means import MetricMean, among_best

COMPARABLE = ("model", "model.given", "data.name", "data.binarization", "eval_samples", "evaluation")
"""Rows are ranked only against rows with the same values of these."""
MISSING = "–"


@dataclass(frozen=True)
class Row:
    """Runs with the same values of the table's keys. mixed: the settings in which they differ, apart from seeds."""

    values: tuple[Any, ...]
    runs: list[FinishedRun]
    cells: dict[str, MetricMean]
    mixed: list[str]

    @property
    def count(self) -> str:
        what = "run" if self.mixed else "seed"
        return f"{len(self.runs)} {what}{'s' * (len(self.runs) > 1)}"

    @property
    def measured(self) -> tuple[Any, ...]:
        return tuple(frozenset(run.settings.get(key) for run in self.runs) for key in COMPARABLE)


@dataclass(frozen=True)
class Table:
    keys: list[str]
    metrics: list[str]
    rows: list[Row]

    @property
    def runs(self) -> list[FinishedRun]:
        return [run for row in self.rows for run in row.runs]

    @cached_property
    def published(self) -> set[str]:
        """The metrics for which a paper reports a value."""
        return {name for row in self.rows for name, cell in row.cells.items() if cell.published}

    @property
    def sources(self) -> list[str]:
        found = (cell.published for row in self.rows for cell in row.cells.values())
        return sorted({published[1] for published in found if published})

    @property
    def title(self) -> str:
        """The settings that all runs share."""
        names = {"experiment": "{}", "data.name": "{}", "data.binarization": "{} binarisation", "latent": "{}"}
        values = {key: {run.settings.get(key) for run in self.runs} for key in names if key not in self.keys}
        return " · ".join(names[key].format(*found) for key, found in values.items() if len(found) == 1)

    @property
    def notes(self) -> list[str]:
        """Remarks: settings that were averaged over, values that are not finite, sources."""
        mixed = sorted({key for row in self.rows for key in row.mixed})
        found = [f"means are also over runs that differ in {', '.join(mixed)}: add to --by"] if mixed else []
        found += [
            f"{run.folder}: {name} is {run.metrics[name]}"
            for run in self.runs
            for name in self.metrics
            if not math.isfinite(run.metrics.get(name, 0))
        ]
        measured = [row.measured for row in self.rows]
        if len({*measured}) < len(measured) and not any(cell.best for row in self.rows for cell in row.cells.values()):
            found.append("no best is marked: no difference is beyond the noise of the seeds (95 %, Welch's t)")
        return found + [f"published: {source}" for source in self.sources]

    def heading(self, metric: str) -> str:
        name = metric.removeprefix("test/")
        counts = {run.settings.get("eval_samples") for run in self.runs}
        if short(metric) == "nll" and len(counts) == 1 and None not in counts:
            return f"{name} (m = {counts.pop()})"
        return f"{name}, %" if unit(metric) == "%" else name

    def number(self, metric: str, value: float) -> str:
        """Rounded to two significant digits of the column's median error, or four of its median mean."""
        if not math.isfinite(value):
            return str(value)
        factor = scale(metric)
        cells = [row.cells[metric] for row in self.rows if metric in row.cells]
        by_mean = 3 - magnitude([cell.mean * factor for cell in cells])
        errors = [cell.error * factor for cell in cells if cell.error]
        decimals = min(1 - magnitude(errors), by_mean + 2) if errors else by_mean
        return f"{value * factor:.{max(0, decimals)}f}"

    def single(self, metric: str, run: FinishedRun) -> str:
        """Name and value of a metric of one run."""
        percent = " %" if unit(metric) == "%" else ""
        return f"{metric.removeprefix('test/')} {self.number(metric, run.metrics[metric])}{percent}"

    def text(self, metric: str, row: Row) -> str:
        """Mean ± standard error, and the number of runs where some lack the metric."""
        cell = row.cells.get(metric)
        if cell is None:
            return MISSING
        error = "" if cell.error is None else f" ± {self.number(metric, cell.error)}"
        fewer = f" ({cell.count} of {len(row.runs)})" if cell.count < len(row.runs) else ""
        return f"{self.number(metric, cell.mean)}{error}{fewer}"


def magnitude(values: Iterable[float]) -> int:
    """The power of ten of the median size; 0 where all are 0."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    return math.floor(math.log10(median(sizes))) if sizes else 0


def tabulate(runs: Sequence[FinishedRun], keys: Sequence[str], metrics: Sequence[str], published: Path) -> Table:
    """Groups runs by the keys. Rows that were measured alike stand together, the best first."""
    grouped: dict[tuple[Any, ...], list[FinishedRun]] = {}
    for run in runs:
        grouped.setdefault(run.values(keys), []).append(run)
    entries = OmegaConf.to_container(OmegaConf.load(published))
    assert isinstance(entries, list)
    rows = []
    for values, members in grouped.items():
        shown = [name for name in metrics if any(name in run.metrics for run in members)]
        cells = {name: metric_mean(name, members, entries) for name in shown}
        rows.append(Row(values, members, cells, differing(members)))
    blocks: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        blocks.setdefault(row.measured, []).append(row)
    ranked = [row for block in blocks.values() for row in with_best(block, metrics)]
    return Table(list(keys), list(metrics), ranked)


def metric_mean(metric: str, runs: Sequence[FinishedRun], entries: Sequence[Any]) -> MetricMean:
    values = [run.metrics[metric] for run in runs if metric in run.metrics]
    known = (paper_value(run, metric, entries) for run in runs)
    paper = next(iter(found)) if len(found := set(known)) == 1 else None
    if not all(map(math.isfinite, values)):
        return MetricMean(math.nan, None, len(values), paper)
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return MetricMean(mean(values), error, len(values), paper)


def paper_value(run: FinishedRun, metric: str, entries: Sequence[Any]) -> tuple[float, str] | None:
    """A paper's value for a run's settings, and its source."""
    for entry in entries:
        settings = dict(leaves({"settings": entry["settings"]}))
        same = all(run.settings.get(key.removeprefix("settings.")) == value for key, value in settings.items())
        value = entry["values"].get(run.settings.get("latent"))
        if entry["metric"] == metric and same and value is not None:
            return value, entry["source"]
    return None


def with_best(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Rows that were measured alike, sorted by the first metric, with the best of each metric marked, and what their
    seeds cannot tell from it."""
    cells = [dict(row.cells) for row in rows]
    for metric in metrics:
        ranked = [row for row in cells if metric in row and not math.isnan(row[metric].mean)]
        if direction(metric) and len(rows) > 1 and ranked:
            first, *others = sorted(ranked, key=lambda row: direction(metric) * row[metric].mean)
            equal = among_best(first[metric], [row[metric] for row in others])
            for row, best in zip([first, *others], [True, *equal], strict=True) if equal else ():
                row[metric] = replace(row[metric], best=best)
    marked = [replace(row, cells=found) for row, found in zip(rows, cells, strict=True)]
    return sorted(marked, key=lambda row: rank(row, metrics[0]))


def rank(row: Row, metric: str) -> tuple[bool, float, list[tuple[bool, Any, str]]]:
    found = row.cells.get(metric)
    last = found is None or math.isnan(found.mean)
    by_value = [(isinstance(v, str), 0 if isinstance(v, str) or v is None else v, str(v)) for v in row.values]
    return last, 0 if found is None or last else direction(metric) * found.mean, by_value


def in_unit(metric: str, value: float) -> str:
    """A paper's value with the digits that the paper gives."""
    return str(round(float(value * scale(metric)), 6))


def value_text(value: Any) -> str:
    """A setting as the table shows it."""
    return MISSING if value is None else str(value)
