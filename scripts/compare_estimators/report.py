"""The report of the comparison: a table by test nll, and a figure of nll against training time."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from scripts.common.labels import label_points
from scripts.common.latent_shapes import TITLES
from scripts.common.report import save_figure, write_report


def write_comparison(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Writes estimators.json, .md and .png into a folder; a row is a model and an estimator."""
    write_report(folder, "estimators", rows, table(rows), lambda path: figure(rows, path))


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Test nll against the time of training: median step times multiplied by the number of steps."""
    models = dict.fromkeys(row["model"] for row in rows)
    panels = plt.figure(figsize=(6 * len(models), 4.6)).subplots(1, len(models), squeeze=False)[0]
    drawn: list[dict[str, tuple[float, float]]] = []
    for axes, model in zip(panels, models, strict=True):
        points = {
            row["latent"]: (row["seconds_per_step"] * row["steps"] / 60, row["nll"])
            for row in sorted((row for row in rows if row["model"] == model), key=lambda row: row["nll"])
        }
        drawn.append(points)
        axes.plot(*zip(*points.values(), strict=True), "o", ms=4, color="#3f86c8")
        axes.set(title=TITLES[model], xlabel="training, minutes on one thread", ylabel="test nll, nats", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.25, y=0.08)
    plt.tight_layout()
    for axes, points in zip(panels, drawn, strict=True):
        label_points(axes, points)
    save_figure(path)


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for model, title in TITLES.items():
        ordered = sorted((row for row in rows if row["model"] == model), key=lambda row: row["nll"])
        if ordered:
            lines += [
                f"| `latent=`, {title} | nll (m = {ordered[0]['eval_samples']}) | nelbo (m = 1) | time of a step "
                "| gradient variance |",
                "|---|---|---|---|---|",
                *(
                    f"| `{row['latent']}` | {row['nll']:.1f} | {row['nelbo']:.1f} | {row['relative_time']:.1f} "
                    f"| {row['gradient_variance']:.3g} |"
                    for row in ordered
                ),
                "",
            ]
    return "\n".join(lines)
