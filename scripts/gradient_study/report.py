"""The report of the gradient study: a table of the first and last model, and a figure over τ and over training."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scripts.common.labels import label_lines
from scripts.common.report import save_figure, write_report

COLUMNS = {
    "temperature": "τ",
    "bias": "bias",
    "floor": "floor",
    "sd": "sd",
    "snr": "snr",
    "cosine": "cosine of a draw",
    "cosine_of_mean": "of the mean",
}


def write_study(folder: Path, results: dict[str, Any]) -> None:
    """Writes gradient_study.json, .md and .png into a folder."""
    write_report(folder, "gradient_study", results, table(results), lambda path: figure(results, path))


def table(results: dict[str, Any]) -> str:
    """Markdown of the first and the last model: one row per estimator."""
    models = [row["model"] for row in results["training"]]
    lines = []
    for model in dict.fromkeys([models[0], models[-1]]):
        lines += [f"**{model}**", "", f"| estimator | {' | '.join(COLUMNS.values())} |", "|---" * 8 + "|"]
        for row in results["training"]:
            if row["model"] == model:
                bound = f" ({row['samples']}-sample bound)" if row["samples"] > 1 else ""
                lines.append(f"| `{row['estimator']}`{bound} | {' | '.join(rounded(row[key]) for key in COLUMNS)} |")
        lines.append("")
    return "\n".join([*lines, *(f"`{name}` is left out: {reason}." for name, reason in results["skipped"].items()), ""])


def rounded(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 0}f}"


def figure(results: dict[str, Any], path: Path) -> None:
    """Bias and variance over τ, and signal-to-noise over training, each line with its estimator's name at its end."""
    noisy = [row for row in results["training"] if row["snr"] is not None]
    names = sorted({row["estimator"] for row in noisy})
    colours = colormaps["Dark2"]

    def draw(axes: Axes, rows: list[dict[str, Any]], x: str, y: str, title: str) -> list[Line2D]:
        lines = []
        for index, name in enumerate(names):
            points = [(row[x], row[y], row["unbiased"]) for row in rows if row["estimator"] == name and row[y]]
            if points:
                xs, ys, unbiased = zip(*points, strict=True)
                style = "o--" if unbiased[0] else "o-"
                lines += axes.plot(xs, ys, style, color=colours(index % 8), markersize=3, linewidth=1.2, label=name)
        axes.set(title=title, yscale="log")
        axes.grid(alpha=0.3)
        return lines

    drawing, (bias, variance, snr) = plt.subplots(1, 3, figsize=(20, 6), gridspec_kw={"wspace": 0.65})
    biased = [row for row in results["temperatures"] if not row["unbiased"]]
    drawn = [
        draw(bias, biased, "temperature", "bias", "bias, ‖E g − g*‖ / ‖g*‖"),
        draw(variance, results["temperatures"], "temperature", "variance", "variance, E‖g − E g‖² / ‖g*‖²"),
        draw(snr, noisy, "model", "snr", "signal-to-noise over training, ‖E g‖ / sd"),
    ]
    snr.set_xticks(snr.get_xticks(), [label.get_text().removeprefix("epoch ") for label in snr.get_xticklabels()])
    snr.set(xlabel="epochs of training with exact")
    for axes in (bias, variance):
        ticks = sorted({row["temperature"] for row in results["temperatures"]})
        axes.set(xlabel="temperature τ", xscale="log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    for axes, lines in zip((bias, variance, snr), drawn, strict=True):
        label_lines(axes, lines)
    drawing.suptitle("solid: biased; dashed: unbiased", fontsize=9, y=0.0)
    save_figure(path)
