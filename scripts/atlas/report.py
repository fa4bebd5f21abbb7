"""The page of the atlas: a table and a figure for each shape of latents, and what they say."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from scripts.atlas.reading import reading
from scripts.atlas.rows import CRITERIA, Row, best
from scripts.common.latent_shapes import TITLES
from scripts.common.report import save_figure, write_report
from scripts.reproduce.paired import difference_text, differences


def report(rows: Sequence[Row], undefined: Mapping[str, str], steps: int, settings: Namespace) -> None:
    """Writes atlas.json, .md, .png and .pdf."""
    shared = {name: getattr(settings, name) for name in ("experiment", "overrides", "seeds", "images", "samples")}
    data = {"settings": shared, "steps": steps, "rows": [row._asdict() for row in rows], "undefined": undefined}
    parts = [legend(rows, steps, settings)]
    for shape, own in by_shape(rows).items():
        parts += [f"**{TITLES[shape]} latents**", table(own, settings.sort), reading(own)]
    parts.append("\n".join(f"- `{name}` is left out: {reason}." for name, reason in undefined.items()))
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_report(settings.output, "atlas", data, text, lambda path: figure(rows, settings.sort, path))


def by_shape(rows: Sequence[Row]) -> dict[str, list[Row]]:
    shapes = dict.fromkeys(row.shape for row in rows)
    return {shape: [row for row in rows if row.shape == shape] for shape in shapes}


def ordered(rows: Sequence[Row], sort: str) -> list[Row]:
    """By a column, the smallest first; what has no number there last."""

    def key(row: Row) -> tuple[float, str]:
        if sort == "latent":
            return 0.0, row.latent
        if sort in CRITERIA:
            return row.mean(sort), row.latent
        known = {"cost": row.cost["ratio"], "memory": row.cost["memory"], **row.gradient}.get(sort)
        return float("inf") if known is None else known, row.latent

    return sorted(rows, key=key)


def table(rows: Sequence[Row], sort: str) -> str:
    leaders = {criterion: best(rows, criterion) for criterion in CRITERIA}
    lines = [
        "| `latent=` | bias | sd | step | MiB | nll, same time | nelbo | nll, same steps | nelbo |",
        "|---" * 9 + "|",
    ]
    for row in ordered(rows, sort):
        noise = [rounded(row.gradient.get(name)) for name in ("bias", "sd")]
        if (bias := row.gradient.get("bias")) is not None and bias < 2 * row.gradient["floor"]:
            noise[0] = "0"
        cells = [compared(row, leaders[criterion], criterion) for criterion in CRITERIA]
        cost = f"{row.cost['ratio']:.1f} | {row.cost['memory']:.1f}"
        lines.append(f"| `{row.latent}` | {' | '.join(noise)} | {cost} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:.{2 if value < 10 else 0}f}"


def compared(row: Row, leader: Row, criterion: str) -> str:
    """The mean, and its difference from the leader's, paired by seed."""
    values = row.values(criterion)
    if not values:
        return "–"
    if len(values) < len(row.runs):
        return "not finite"
    shown = f"{row.mean(criterion):.2f}"
    if row.latent == leader.latent:
        return f"{shown} (lowest)"
    return f"{shown} ({difference_text(differences(values, leader.values(criterion)), digits=2)})"


def legend(rows: Sequence[Row], steps: int, settings: Namespace) -> str:
    seeds = sorted({run["seed"] for row in rows for run in row.runs})
    uneven = len({len(row.runs) for row in rows}) > 1
    listed = ", ".join(map(str, seeds)) + (", not all of them in every row" if uneven else "")
    command = " ".join([f"experiment={settings.experiment}", *settings.overrides])
    return (
        f"`{command}` with linear networks, {steps:,} steps at a constant rate; test nats of the first "
        f"{settings.images} images, hard samples, with the weights of that step. nll: m = {settings.samples}; nelbo: "
        f"m = 1. Seeds: {listed}. *Same time*: after as many steps as fit into the time of {steps:,} with "
        "`gumbel_softmax`. In brackets: the difference from the lowest of the column, paired by seed, ± half its 95 % "
        "interval (Student's t), bold where zero is outside. *bias*, *sd*: of an image's gradient over the length of "
        "the exact one, on a VAE of 9 or 8 states; 0: within the noise of the draws. *step*: its processor time over "
        "that of `gumbel_softmax`, taken in turn. *MiB*: the peak that a step allocates. All have one rate and one "
        "temperature, ½: what each would gain by its own is not in here."
    )


def figure(rows: Sequence[Row], sort: str, path: Path) -> None:
    """Each estimator a line, in the order of the table: nll after the same time and after the same steps."""
    shapes = by_shape(rows)
    longest = max(len(own) for own in shapes.values())
    panels = plt.figure(figsize=(6 * len(shapes), 1 + 0.2 * longest)).subplots(1, len(shapes), squeeze=False)[0]
    for axes, (shape, own) in zip(panels, shapes.items(), strict=True):
        lines = ordered(own, sort)[::-1]
        for criterion, marker, label in (("nll_steps", "o", "same steps"), ("nll_time", "D", "same time")):
            points = [(run["value"], place) for place, row in enumerate(lines) for run in row.values(criterion)]
            axes.plot(*zip(*points or [(float("nan"), 0)], strict=True), marker, ms=3.5, mew=0, alpha=0.7, label=label)
        axes.set_yticks(range(len(lines)), [row.latent for row in lines], fontsize=7)
        axes.set(title=f"{TITLES[shape]} latents", xlabel="test nll, nats; a point for each seed")
        axes.grid(axis="y", alpha=0.3, lw=0.5)
        axes.legend(fontsize=7)
    plt.tight_layout()
    save_figure(path)
