"""The summary as one HTML file: the table, learning curves, and pictures and settings of each run."""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import jinja2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from discrete_latents.errors import UserError
from discrete_latents.report.charts import late_range
from discrete_latents.report.look import LOOK
from discrete_latents.report.pictures import embedded, is_inside
from discrete_latents.report.run_report import settings_text
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.files import read_json, read_table
from discrete_latents.runs.metrics import short
from discrete_latents.secrecy import masked
from discrete_latents.summary.finished_runs import FinishedRun
from discrete_latents.summary.table import Row, Table, value_text

TEMPLATE = Path(__file__).with_name("report.html.jinja")
COLOURS = ("#3f86c8", "#dd7a35", "#3a9d5d", "#cc5151", "#8c6bc0", "#b08a2e", "#cf62a4", "#3f9f9c", "#7f8a94", "#8f6149")
DASHES = ((), (4.0, 2.0), (1.0, 1.5), (5.0, 1.5, 1.0, 1.5))
INK = "#010203"
"""Replaced by the colour of the page's text, light or dark."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "summary",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
COLUMNS = 3
POINTS = 300
"""At most, of a curve."""

T = TypeVar("T")
Curve = dict[float, float]
"""A metric by epoch."""


@dataclass(frozen=True)
class Line:
    """How a row's curve is drawn. dashes: lengths on and off, in units of the line's width."""

    colour: str
    dashes: tuple[float, ...]

    @classmethod
    def of(cls, index: int) -> "Line":
        return cls(COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)])


def write_html(
    path: Path, table: Table, columns: Sequence[tuple[str, list[str], list[bool]]], outside: Mapping[Path, str]
) -> list[str]:
    """Writes the report. All that comes from a run is escaped; the page can neither load nor run anything.

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
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        look=LOOK,
        table=table,
        columns=columns,
        outside=outside,
        lines=[Line.of(i) for i in range(len(table.rows))],
        labels=[label(table, row) for row in table.rows],
        drawn=[i for i, runs in enumerate(logged) if any(runs)],
        curves=curves(logged, table.metrics),
        counts=" and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counted if count),
        pictures=kept(pictures, []),
        texts=kept(texts, {}),
        seeds=seeds,
        few=len(table.runs) <= 12,
    )
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
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


def curves(logged: Sequence[Sequence[dict[str, Curve]]], metrics: Sequence[str]) -> str:
    """Learning curves over epochs as an SVG: runs as thin lines, the mean of a row as a thick one. Empty where nothing
    was logged.

    logged: by row and run, the curve of each metric.
    """
    tails = dict.fromkeys(["nelbo", *map(short, metrics), "temperature"])
    names = [name for tail in tails for name in (f"val/{tail}", f"train/{tail}", tail)]
    shown = [name for name in names if varies([run[name] for row in logged for run in row if name in run])]
    if not shown:
        return ""
    with rc_context(STYLE):
        height = math.ceil(len(shown) / COLUMNS)
        figure = Figure(figsize=(10, 2.4 * height), layout="constrained")
        axes = figure.subplots(height, COLUMNS, squeeze=False).flatten()
        for axis, name in zip(axes, shown, strict=False):
            for i, row in enumerate(logged):
                draw_curves(axis, [run[name] for run in row if name in run], Line.of(i))
            zoom(axis)
            axis.set_title(name)
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        for axis in axes[(height - 1) * COLUMNS : len(shown)]:
            axis.set_xlabel("epoch")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    return drawn[drawn.index("<svg") :].replace(INK, "currentColor")


def varies(runs: Sequence[Curve]) -> bool:
    return len({value for run in runs for value in run.values()}) > 1


def read_curves(run: FinishedRun) -> dict[str, Curve]:
    """The training curves of a run by metric; empty for an evaluation."""
    path = RunDirectory(run.folder).metrics
    if not path.exists() or not run.metrics.get("steps"):
        return {}
    epochs_per_step = run.metrics.get("epochs", 1) / run.metrics["steps"]
    found: dict[str, Curve] = {}
    for row in read_table(path):
        for name, text in row.items():
            if name not in ("step", "epoch") and "step" in row and not name.startswith("test/"):
                found.setdefault(name, {})[(int(row["step"]) + 1) * epochs_per_step] = float(text)
    return found


def draw_curves(axis: Axes, runs: Sequence[Curve], line: Line) -> None:
    """Draws runs as thin lines, and their mean, at epochs that all of them have, as a thick one."""
    if not runs:
        return
    style: dict[str, Any] = {"color": line.colour, "linestyle": (0, line.dashes) if line.dashes else "solid"}
    if len(runs) > 1:
        for run in runs:
            epochs = thinned(sorted(run))
            axis.plot(epochs, [run[epoch] for epoch in epochs], lw=0.6, alpha=0.6, **style)
    epochs = thinned(sorted(set.intersection(*map(set, runs))))
    axis.plot(epochs, [mean(run[epoch] for run in runs) for epoch in epochs], lw=1.6, **style)


def thinned(epochs: list[float]) -> list[float]:
    return epochs[:: math.ceil(len(epochs) / POINTS) or 1]


def zoom(axis: Axes) -> None:
    """Excludes the first tenth of training from the vertical range where it would flatten the rest."""
    points = np.concatenate([line.get_xydata() for line in axis.get_lines()])
    if found := late_range([(epoch, value) for epoch, value in points.tolist() if math.isfinite(value)]):
        axis.set_ylim(*found)
