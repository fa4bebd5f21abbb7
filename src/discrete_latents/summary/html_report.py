"""The summary as one HTML file: the table, learning curves, and pictures and settings of each run."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from discrete_latents.errors import UserError
from discrete_latents.report.charts import COLOURS, points, vertical_range
from discrete_latents.report.look import HERE as REPORT
from discrete_latents.report.look import render_page
from discrete_latents.report.pictures import embedded, is_inside
from discrete_latents.report.run_report import settings_text
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.files import read_json, read_table
from discrete_latents.runs.metrics import metric, short
from discrete_latents.secrecy import masked
from discrete_latents.summary.finished_runs import FinishedRun
from discrete_latents.summary.table import Row, Table, value_text

HERE = Path(__file__).parent
DASHES = ("none", "6 3", "1.5 2.5", "8 2.5 1.5 2.5")

T = TypeVar("T")
Curve = dict[float, float]
"""A metric by epoch."""


@dataclass(frozen=True)
class Line:
    """How a row's curve is drawn. dashes: of SVG."""

    colour: str
    dashes: str

    @classmethod
    def of(cls, index: int) -> "Line":
        return cls(COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)])


def write_html(
    path: Path, table: Table, columns: Sequence[tuple[str, list[str], list[bool]]], outside: Mapping[Path, str]
) -> list[str]:
    """Writes the report. All that comes from a run is escaped; the page runs its own script alone and loads nothing.

    Returns why curves, pictures and settings of runs are left out, where their files are damaged.
    """
    missing: list[str] = []

    def kept(read: Callable[[FinishedRun], T], empty: T) -> Callable[[FinishedRun], T]:
        def call(run: FinishedRun) -> T:
            try:
                return read(run)
            except (UserError, OSError) as error:
                missing.append(f"left out of the report: {error}")
                return empty

        return call

    logged = [[kept(read_curves, {})(run) for run in row.runs] for row in table.rows]
    evaluations = sum(run.folder != run.home for run in table.runs)
    counted = [(len(table.runs) - evaluations, "run"), (evaluations, "evaluation")]
    counts = " and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counted if count)
    labels = [label(table, row) for row in table.rows]
    page = render_page(
        HERE / "report.html.jinja",
        [REPORT / "charts.js", REPORT / "enlarge.js", HERE / "report.js"],
        data={"charts": curve_charts(logged, table.metrics, labels)},
        title=f"{table.title or 'Summary'} · {counts}",
        table=table,
        columns=columns,
        outside=outside,
        lines=[Line.of(i) for i in range(len(table.rows))],
        labels=labels,
        drawn=[i for i, runs in enumerate(logged) if any(runs)],
        counts=counts,
        pictures=kept(pictures, []),
        texts=kept(texts, {}),
        seeds=seeds,
        few=len(table.runs) <= 12,
    )
    path.write_text(page, encoding="utf-8")
    return missing


def label(table: Table, row: Row) -> str:
    """A row in one line: its values, with the names of those that are not self-explanatory."""
    words = zip(table.keys, row.values, strict=True)
    spoken = ("experiment", "latent", "evaluation")
    return ", ".join(value_text(v) if k in spoken else f"{k} = {value_text(v)}" for k, v in words if v is not None)


def seeds(run: FinishedRun) -> str:
    """The seed of a run, and further seeds that are not 0."""
    return ", ".join(f"{key} {value}" for key, value in run.seeds.items() if key == "seed" or value != 0)


def pictures(run: FinishedRun) -> list[tuple[str, str]]:
    """Name and data URI of each picture of a run."""
    files = sorted(RunDirectory(run.folder).images.glob("*.png"))
    return [(file.stem, uri) for file in files if (uri := embedded(file, run.folder)) is not None]


def texts(run: FinishedRun) -> dict[str, str]:
    """Configuration and results of a run as text, without secrets, by file name."""
    config, results = RunDirectory(run.home).config, RunDirectory(run.folder).results
    found = {}
    if is_inside(config, run.home):
        found[config.name] = settings_text(RunDirectory(run.home))
    if is_inside(results, run.folder):
        found[results.name] = json.dumps(masked(read_json(results)), indent=2)
    return found


def curve_charts(
    logged: Sequence[Sequence[dict[str, Curve]]], metrics: Sequence[str], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Learning curves over epochs, a chart for each metric that changes: a thin line for each run of several, and a
    thick one for the mean of a row.

    logged: by row and run, the curve of each metric.
    """
    tails = dict.fromkeys(["nelbo", *map(short, metrics), "temperature"])
    names = [name for tail in tails for name in (f"val/{tail}", f"train/{tail}", tail)]
    found = []
    for name in names:
        rows = [[run[name] for run in row if run.get(name)] for row in logged]
        if len({value for runs in rows for run in runs for value in run.values()}) > 1:
            lines = [line for i, runs in enumerate(rows) if runs for line in row_lines(runs, i, labels[i])]
            limits = vertical_range([line["points"] for line in lines])
            chart = {"title": name, "at": "epoch", "unit": metric(name).unit, "range": limits, "lines": lines}
            found.append(chart)
    return found


def row_lines(runs: Sequence[Curve], row: int, label: str) -> list[dict[str, Any]]:
    """The lines of one row of the table: of its runs, and of their mean at the epochs that all of them have."""
    epochs = sorted(set.intersection(*map(set, runs)))
    average = [(epoch, mean(run[epoch] for run in runs)) for epoch in epochs]
    thin = [sorted(run.items()) for run in runs] if len(runs) > 1 else []
    style = {"row": row, "label": label, "colour": Line.of(row).colour, "dashes": Line.of(row).dashes}
    return [
        {**style, "thin": single, "points": points(curve)}
        for curve, single in [*((curve, True) for curve in thin), (average, False)]
        if curve
    ]


def read_curves(run: FinishedRun) -> dict[str, Curve]:
    """The training curves of a run by metric, without what is not finite; empty for an evaluation."""
    path = RunDirectory(run.folder).metrics
    if not path.exists() or not run.metrics.get("steps"):
        return {}
    epochs_per_step = run.metrics.get("epochs", 1) / run.metrics["steps"]
    found: dict[str, Curve] = {}
    for row in read_table(path):
        for name, text in row.items():
            logged = name not in ("step", "epoch") and "step" in row and not name.startswith("test/")
            if logged and math.isfinite(value := float(text)):
                found.setdefault(name, {})[(int(row["step"]) + 1) * epochs_per_step] = value
    return found
