"""Differences between the estimators of a table, paired by seed: runs of one seed share the order of the data and the
initial weights of what they have in common, so a difference varies less than its two sides."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from discrete_latents.runs.metrics import direction, scale
from scripts.reproduce.interval import half_interval
from scripts.reproduce.table import PaperCell, PaperTable

Results = Mapping[tuple[str, str], Sequence[dict[str, Any]]]
"""The runs of each cell, by its row and column."""


def differences(runs: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> list[float]:
    """Our values minus those of the others, of the seeds that both have."""
    theirs = {run["seed"]: run["value"] for run in others}
    return [run["value"] - theirs[run["seed"]] for run in runs if run["seed"] in theirs]


def difference_text(values: Sequence[float], digits: int = 1) -> str:
    """The mean ± half its 95 % interval: bold where zero is outside."""
    if not values:
        return "–"
    interval = half_interval(values)
    text = f"{mean(values):+.{digits}f}" + ("" if interval is None else f" ± {interval:.{digits}f}")
    return f"**{text}**" if told_apart(values) else text


def told_apart(differences: Sequence[float]) -> bool:
    """Whether the 95 % interval of a mean difference is on one side of zero; one seed tells nothing."""
    interval = half_interval(differences)
    return interval is not None and abs(mean(differences)) > interval


def compared(table: PaperTable, results: Results) -> dict[tuple[str, str], list[float] | None]:
    """Each cell's differences from the reference of its line, a row or a column of the table; None for the reference
    itself: the cell of `table.reference`, else the one with the best mean."""
    lines: dict[tuple[str, str], list[PaperCell]] = {}
    for cell in table:
        if results.get((cell.row, cell.column)):
            model, comma, _ = cell.row.partition(", ")  # a row is "MODEL, ESTIMATOR" where models differ too
            line = (cell.row, "") if table.estimators == "columns" else (cell.column, model if comma else "")
            lines.setdefault(line, []).append(cell)
    found: dict[tuple[str, str], list[float] | None] = {}
    for cells in lines.values():
        runs = {cell: results[cell.row, cell.column] for cell in cells}
        named = [cell for cell in cells if table.reference in (cell.row, cell.column)]
        if table.reference and not named:
            continue
        best = min(cells, key=lambda cell: direction(cell.metric) * mean(run["value"] for run in runs[cell]))
        reference = named[0] if named else best
        for cell in cells:
            own = [scale(cell.metric) * value for value in differences(runs[cell], runs[reference])]
            found[cell.row, cell.column] = None if cell is reference else own
    return found


def paired_markdown(table: PaperTable, results: Results) -> str:
    """A table of `difference_text`."""
    found = compared(table, results)
    from_what = table.reference or "the best of its " + ("row" if table.estimators == "columns" else "column")
    lines = [
        f"Differences from {from_what}, of runs with the same seed; bold: the 95 % interval (Student's t over "
        "seeds) is on one side of zero; without an interval: of a single seed.",
        "",
        f"| | {' | '.join(table.columns)} |",
        "|---" * (len(table.columns) + 1) + "|",
    ]
    for row in table.rows:
        texts = []
        for column in table.columns:
            values = found.get((row, column), [])
            texts.append("0" if values is None else difference_text(values))
        lines.append(f"| {row} | {' | '.join(texts)} |")
    return "\n".join([*lines, ""])


def causes(table: PaperTable, results: Results) -> str:
    """One line a row: its gap to the paper, and what each factor takes off or adds, the most helpful first."""
    found = compared(table, results)
    lines = []
    for cell in table:
        runs = results.get((cell.row, cell.column))
        if cell.column != table.reference or not runs:
            continue
        ours = mean(run["value"] for run in runs)
        factors = {column: values for (row, column), values in found.items() if row == cell.row and values}
        ordered = sorted(factors.items(), key=lambda factor: mean(factor[1]))
        named = [f"{column} {difference_text(values)}" for column, values in ordered]
        gap = "" if cell.published is None else f", {ours - cell.published:+.1f} from the paper's {cell.published:.1f}"
        lines.append(f"- {cell.row}: {ours:.1f}{gap}. {'; '.join(named) or 'no factor was run'}.")
    return "\n".join([*lines, ""])
