"""The tables and the figure of the benchmark."""

from pathlib import Path
from typing import Any

from scripts.benchmark.cases import CASES
from scripts.benchmark.race import CONTENDERS

Section = dict[str, Any]
"""What a section of the report holds, by case, contender or quantity; a report is its sections by name."""


def tables(results: Section) -> str:
    """Markdown of the sections that were measured."""
    writers = WRITERS | {"processors": processors}
    parts = [write(results[name]) for name, write in writers.items() if name in results]
    return "\n".join("\n".join(lines) + "\n" for lines in parts)


def rows(header: list[str], cells: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *cells)]


def ratio(cell: dict[str, float]) -> str:
    return f"{cell['ratio']:.2f} ({cell['low']:.2f}–{cell['high']:.2f})"


def names(section: Section) -> list[str]:
    """The contenders that some case has."""
    return [name for name in CONTENDERS if any(name in row for phases in section.values() for row in phases.values())]


def by_case(section: Section) -> Section:
    """The section in the order of `CASES`."""
    return {case: section[case] for case in CASES if case in section}


def steps(section: Section) -> list[str]:
    found = names(section)
    cells = []
    for case, phases in by_case(section).items():
        for phase, row in phases.items():
            own = {name: ratio(cell) for name, cell in row.items()}
            own["plain"] = f"1 ({row['plain']['milliseconds']:.2f} ms)"
            cells.append([f"{case}, {phase}", *(own.get(name, "") for name in found)])
    memory = [
        [case, *(peak(phases["steady"].get(name)) for name in found)] for case, phases in by_case(section).items()
    ]
    return [*rows(["time of a step", *found], cells), "", *rows(["peak memory, MiB", *found], memory)]


def processors(section: Section) -> list[str]:
    """Steady steps of each processor: over the plain loop, and over the products alone."""
    cells = []
    for processor, cases in section.items():
        for case, phases in by_case(cases).items():
            row = phases["steady"]
            least = min((row[name]["milliseconds"] for name in row if "products" in name), default=None)
            over = {name: f"{row[name]['ratio']:.2f}" for name in COMPARED if name in row}
            to_least = {name: f"{row[name]['milliseconds'] / least:.1f}" for name in COMPARED if name in row and least}
            cells.append(
                [
                    *(processor, case, f"{row['plain']['milliseconds']:.2f}"),
                    *(over.get(name, "") for name in COMPARED),
                    *(to_least.get(name, "") for name in COMPARED[1:]),
                ]
            )
    heads = [*(f"{name} / plain" for name in COMPARED), *(f"{name} / products" for name in COMPARED[1:])]
    return rows(["processor", "model", "plain, ms", *heads], cells)


COMPARED = ("plain_fused", "ours", "compiled")


def profile(section: Section) -> list[str]:
    parts = list(dict.fromkeys(part for row in section.values() for part in row))
    cells = [[case, *(f"{row[part]:.2f}" for part in parts)] for case, row in section.items()]
    return rows(["a step, ms", *parts], cells)


def peak(cell: dict[str, float] | None) -> str:
    return f"{cell['peak_MiB']:.0f}" if cell else ""


def by_size(section: Section) -> Section:
    return {size: section[size] for size in sorted(section, key=int)}


def batches(section: Section) -> list[str]:
    cells = [
        [size, *(f"{row[name]['images_per_second']:,.0f}" for name in ("plain", "ours")), ratio(row["ours"])]
        for size, row in by_size(section).items()
    ]
    return rows(["batch size", "plain, images/s", "ours, images/s", "time of a step, ours / plain"], cells)


def denormals(section: Section) -> list[str]:
    said = [f"{name} {ratio(cell)}" for name, cell in section.items()]
    count = max(cell["steps"] for cell in section.values())
    return [f"A step after {count:,} steps over one after 50: {', '.join(said)}."]


def evaluation(section: Section) -> list[str]:
    e = section
    return [
        f"Bound of m = {e['m']} samples, {e['images']} test images: {e['ratio']:.2f} ({e['low']:.2f}–{e['high']:.2f}) "
        f"of a loop that encodes once; a loop that encodes each sample anew takes {e['naive_ratio']:.2f} of that loop. "
        f"Ours less the loop's: {e['difference']:+.4f} ± {e['standard_error']:.4f} nats with other draws; with the "
        f"same draws at most {e['same_draws_difference']:.1e} nats an image."
    ]


def bound(section: Section) -> list[str]:
    what = "came to" if section["reached"] else "did not come to"
    return [
        f"`experiment=vae_mnist` {what} an nll (m = 1000) of {section['nats']} nats on {section['images']} validation "
        f"images: {section['nll']:.1f} after {section['epochs']} epochs, {section['seconds']:.0f} s"
        f"{after_by_hand(section)}."
    ]


def after_by_hand(section: Section) -> str:
    if not (by_hand := section.get("by_hand")):
        return ""
    ratio = section["seconds"] / by_hand["seconds"]
    epochs, seconds = by_hand["epochs"], by_hand["seconds"]
    return f", {ratio:.2f} of the loop by hand ({by_hand['nll']:.1f} after {epochs} epochs, {seconds:.0f} s)"


def whole(section: Section) -> list[str]:
    seconds, nll = section["seconds"], section["nll"]
    return [
        f"`experiment=vae_mnist`, {section['epochs']} epochs with validation, pictures and a test (m = "
        f"{section['m']:,}), from the shell: {seconds['ours']:.0f} s, {seconds['ours'] / seconds['by_hand']:.2f} of "
        f"the loop by hand with the same evaluation ({seconds['by_hand']:.0f} s); test nll {nll['ours']:.1f} and "
        f"{nll['by_hand']:.1f}."
    ]


def startup(section: Section) -> list[str]:
    parts = ", ".join(f"{name.replace('_', ' ')} {seconds:.2f}" for name, seconds in section["parts"].items())
    return [
        f"Start: {section['first_step']:.2f} s to the end of the first step, {section['ratio']:.2f} × the imports of "
        f"torch, lightning and hydra alone ({section['imports_alone']:.2f} s). Its parts, s: {parts}."
    ]


def estimators(section: Section) -> list[str]:
    models = list(dict.fromkeys(model for row in section.values() for model in row))
    cells = [
        [f"`{latent}`", *(f"{row[model]:.2f}" if model in row else "" for model in models)]
        for latent, row in sorted(section.items())
    ]
    return rows(["time of a step / `gumbel_softmax`", *models], cells)


def stacked(section: Section) -> list[str]:
    cells = [[size, f"{cell['images_per_second']:,.0f}"] for size, cell in section.items()]
    return rows(["runs of `vae_mnist` in one stack", "images per second of all together"], cells)


WRITERS = {
    "steps": steps,
    "batches": batches,
    "denormals": denormals,
    "evaluation": evaluation,
    "bound": bound,
    "whole": whole,
    "startup": startup,
    "estimators": estimators,
    "stacked": stacked,
    "profile": profile,
}
"""How each section that can be measured is written."""


def figure(results: Section, path: Path) -> None:
    """Steady-state ratios with quartiles, a panel for each case, and images per second against batch size."""
    from matplotlib.figure import Figure  # here, so that the command line, which needs WRITERS, answers at once

    from scripts.common.labels import label_lines
    from scripts.common.report import save_figure

    cases = by_case(results.get("steps", {}))
    widths = [1.0] * len(cases) + [2.0] * ("batches" in results)
    made = Figure(figsize=(2.2 + 1.6 * sum(widths), 3.4), layout="constrained")
    panels = made.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    order = [name for name in names(cases) if name != "plain"][::-1]
    for place, (axes, (case, phases)) in enumerate(zip(panels, cases.items(), strict=False)):
        axes.sharex(panels[0])
        draw_steps(axes, phases["steady"], order)
        axes.set_title(case, fontsize=10)
        if place:
            axes.set_yticklabels([])
    if cases:
        made.supxlabel("time of a step, relative to a plain loop by hand", fontsize=9, x=0.02, ha="left")
    if "batches" in results:
        label_lines(panels[-1], draw_batches(panels[-1], results["batches"]), size=9)
    save_figure(path, made)


def draw_steps(axes: Any, row: Section, order: list[str]) -> None:
    """Contenders below each other, their median ratios with quartiles to the right."""
    cells = {place: row[name] for place, name in enumerate(order) if name in row}
    middle = [cell["ratio"] for cell in cells.values()]
    spread = [
        [cell["ratio"] - cell["low"] for cell in cells.values()],
        [cell["high"] - cell["ratio"] for cell in cells.values()],
    ]
    axes.errorbar(middle, [*cells], xerr=spread, fmt="o", markersize=4, capsize=2, color="#3f86c8")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(order)), order)
    axes.set(xscale="log", ylim=(-0.5, len(order) - 0.5))
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.minorticks_off()
    axes.grid(axis="y", alpha=0.3)


def draw_batches(axes: Any, section: Section) -> list[Any]:
    """The lines."""
    section = by_size(section)
    lines = []
    for name in ("plain", "ours"):
        speeds = [row[name]["images_per_second"] for row in section.values()]
        lines += axes.plot([int(size) for size in section], speeds, "o-", label=name)
    axes.set(xscale="log", ylim=(0, None))
    axes.set_title("images per second, by batch size", fontsize=10)
    return lines
