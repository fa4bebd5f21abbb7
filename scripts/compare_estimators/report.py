"""The report of the comparison: a table by test nll, and a figure of nll against training time."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import colormaps
from matplotlib.ticker import ScalarFormatter

from scripts.common.report import write_report


def write_comparison(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Writes estimators.json, .md and .png into a folder; a row is a model and an estimator."""
    write_report(folder, "estimators", rows, table(rows), lambda path: figure(rows, path))


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Test nll against the time of training: median step times multiplied by the number of steps."""
    models = dict.fromkeys(row["model"] for row in rows)
    panels = plt.figure(figsize=(5.5 * len(models), 4)).subplots(1, len(models), squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        ordered = sorted((row for row in rows if row["model"] == model), key=lambda row: row["nll"])
        for i, row in enumerate(ordered):
            minutes = row["seconds_per_step"] * row["steps"] / 60
            axes.plot(
                minutes, row["nll"], "os^DvP"[i % 6], color=colormaps["turbo"](i / len(ordered)), label=row["latent"]
            )
        axes.set(title=model, xlabel="training, minutes on one thread", ylabel="test nll, nats", xscale="log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(ScalarFormatter())
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.tight_layout()
    plt.savefig(path, dpi=150, bbox_inches="tight")


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for model, title in (("categorical", "20×10 categorical"), ("bernoulli", "200 Bernoulli")):
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
