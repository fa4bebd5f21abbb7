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


FAMILIES = ("relaxed or Gumbel noise", "straight-through rules", "unbiased")


def family(row: dict[str, Any]) -> str:
    noise = "gumbel" in row["estimator"] or "concrete" in row["estimator"]
    return FAMILIES[2 if row["unbiased"] else 0 if noise else 1]


def figure(results: dict[str, Any], path: Path) -> None:
    """Bias and variance over τ, and signal-to-noise over training: a row each, and a column a family of estimators,
    with the lines of the others in grey. Each line has its estimator's name at its end.
    """
    swept = results["temperatures"]
    noisy = [row | {"epoch": row["model"].removeprefix("epoch ")} for row in results["training"] if row["snr"]]
    rows = [
        ("bias", "temperature", "bias, ‖E g − g*‖ / ‖g*‖", [row for row in swept if not row["unbiased"]]),
        ("variance", "temperature", "variance, E‖g − E g‖² / ‖g*‖²", swept),
        ("snr", "epoch", "signal-to-noise, ‖E g‖ / sd", noisy),
    ]
    _, panels = plt.subplots(
        len(rows), len(FAMILIES), figsize=(17, 11), sharey="row", gridspec_kw={"wspace": 0.7, "hspace": 0.25}
    )
    drawn = [
        (axes, draw(axes, [row for row in points if row[y]], x, y, name))
        for across, (y, x, _, points) in zip(panels, rows, strict=True)
        for axes, name in zip(across, FAMILIES, strict=True)
    ]
    for axes, name in zip([*panels[0, :2], panels[1, 2]], FAMILIES, strict=True):  # an unbiased one has no bias
        axes.set_title(name, fontsize=11)
    for across, (_, x, said, points) in zip(panels, rows, strict=True):
        across[0].set_ylabel(said)
        for axes in across:
            axes.set_xlabel("temperature τ" if x == "temperature" else "epochs of training with exact")
            if x == "temperature":
                ticks = sorted({row["temperature"] for row in points})
                axes.set_xscale("log")
                axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axes.minorticks_off()
    for axes, lines in drawn:
        if lines:
            label_lines(axes, lines, size=8)
        else:
            axes.remove()
    save_figure(path)


def draw(axes: Axes, rows: list[dict[str, Any]], x: str, y: str, shown: str) -> list[Line2D]:
    """The lines of a family, in colour, in front of all others."""
    lines = []
    for name in sorted({row["estimator"] for row in rows}):
        of_name = [row for row in rows if row["estimator"] == name]
        points = [row[x] for row in of_name], [row[y] for row in of_name]
        if family(of_name[0]) == shown:
            colour = colormaps["Dark2"](len(lines) % 8)
            style = "o-" if len(lines) < 8 else "o--"
            lines += axes.plot(*points, style, color=colour, markersize=3, linewidth=1.4, label=name, zorder=3)
        else:
            axes.plot(*points, "-", color="0.85", linewidth=0.8, zorder=1)
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    return lines
