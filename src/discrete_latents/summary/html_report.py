"""The report of `summarize.py` as one HTML file: table, learning curves, and of each run its pictures and settings."""

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import jinja2
import numpy as np
from finished_runs import Run
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from summary_table import Row, Table, short, show

TEMPLATE = Path(__file__).with_name("report.html.jinja")
COLOURS = ("#3f86c8", "#dd7a35", "#3a9d5d", "#cc5151", "#8c6bc0", "#b08a2e", "#cf62a4", "#3f9f9c", "#7f8a94", "#8f6149")
DASHES = ((), (4.0, 2.0), (1.0, 1.5), (5.0, 1.5, 1.0, 1.5))
INK = "#010203"
"""What is drawn in it takes the colour of the page's text."""
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
"""Of a curve, at most."""

Curve = dict[float, float]
"""A metric by epoch."""


@dataclass(frozen=True)
class Line:
    """How a row is drawn. dashes: lengths drawn and left out, in units of the line's width."""

    colour: str
    dashes: tuple[float, ...]

    @classmethod
    def of(cls, index: int) -> "Line":
        return cls(COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)])


def write_html(
    path: Path, table: Table, columns: Sequence[tuple[str, list[str], list[bool]]], outside: Mapping[Path, str]
) -> None:
    """Writes the report. Whatever comes from a run is escaped, and the page may load and run nothing."""
    logged = [[read_curves(run) for run in row.runs] for row in table.rows]
    evaluations = sum(run.folder != run.home for run in table.runs)
    counted = [(len(table.runs) - evaluations, "run"), (evaluations, "evaluation")]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    page = environment.from_string(TEMPLATE.read_text()).render(
        table=table,
        columns=columns,
        outside=outside,
        lines=[Line.of(i) for i in range(len(table.rows))],
        labels=[label(table, row) for row in table.rows],
        drawn=[i for i, runs in enumerate(logged) if any(runs)],
        curves=curves(logged, table.metrics),
        counts=" and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counted if count),
        pictures=pictures,
        files=files,
        seeds=seeds,
        few=len(table.runs) <= 12,
    )
    path.write_text(page)


def label(table: Table, row: Row) -> str:
    """What a row is, in a line: its values, with their names where they do not speak for themselves."""
    words = zip(table.keys, row.values, strict=True)
    spoken = ("experiment", "latent", "evaluation")
    return ", ".join(show(v) if k in spoken else f"{k} = {show(v)}" for k, v in words if v is not None)


def seeds(run: Run) -> str:
    """The seeds of a run; those of its parts where they are not the usual."""
    return ", ".join(f"{key} {value}" for key, value in run.seeds.items() if key == "seed" or value != 0)


def pictures(run: Run) -> list[tuple[str, str]]:
    """Name and data URI of what a run drew."""
    files = sorted((run.folder / "images").glob("*.png"))
    return [(f.stem, f"data:image/png;base64,{base64.b64encode(f.read_bytes()).decode()}") for f in files]


def files(run: Run) -> dict[str, str]:
    """The texts that say what a run was, by name."""
    paths = (run.home / ".hydra" / "config.yaml", run.folder / "results.json")
    return {path.name: path.read_text() for path in paths if path.is_file()}


def curves(logged: Sequence[Sequence[dict[str, Curve]]], metrics: Sequence[str]) -> str:
    """An SVG of what was logged in training, row by row and run by run, over epochs: runs as thin lines, their mean as
    a thick one. Empty where nothing was logged."""
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
                draw(axis, [run[name] for run in row if name in run], Line.of(i))
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


def read_curves(run: Run) -> dict[str, Curve]:
    """What a run logged in training, by metric; nothing of an evaluation."""
    path = run.folder / "metrics.csv"
    if not path.is_file() or not run.metrics.get("steps"):
        return {}
    epochs_per_step = run.metrics.get("epochs", 1) / run.metrics["steps"]
    found: dict[str, Curve] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch") and not name.startswith("test/"):
                    found.setdefault(name, {})[(int(row["step"]) + 1) * epochs_per_step] = float(text)
    return found


def draw(axis: Axes, runs: Sequence[Curve], line: Line) -> None:
    """Thin lines of the runs, and a thick one of their mean where all have a value."""
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
    """Leaves the first tenth of training out of the vertical range where it would flatten the rest."""
    points = np.concatenate([line.get_xydata() for line in axis.get_lines()])
    points = points[np.isfinite(points[:, 1])]
    late = points[points[:, 0] >= points[:, 0].max(initial=0) / 10, 1]
    if len(late) and 0 < 2 * np.ptp(late) < np.ptp(points[:, 1]):
        margin = 0.06 * np.ptp(late)
        axis.set_ylim(late.min() - margin, late.max() + margin)
