"""The report of a reproduced table: every run as JSON, and a Markdown table beside the paper's numbers."""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from discrete_latents.runs.metrics import direction, scale
from scripts.common.report import write_report
from scripts.reproduce.interval import half_interval
from scripts.reproduce.paired import causes, paired_markdown
from scripts.reproduce.table import PaperCell, PaperTable

CellResult = dict[str, Any]
"""One run of a cell, as `Reproduction.found` describes it."""


def report(table: PaperTable, found: Sequence[CellResult], folder: Path) -> None:
    """Writes TABLE.json, TABLE.md, and TABLE_paired.md with the differences between estimators."""
    write_report(folder, table.name, list(found), markdown(table, found))
    results = by_cell(found)
    paired = paired_markdown(table, results) + (f"\n{causes(table, results)}" if table.reference else "")
    (folder / f"{table.name}_paired.md").write_text(paired)


def with_earlier(table: PaperTable, found: Sequence[CellResult], folder: Path) -> list[CellResult]:
    """New results and those reported earlier, perhaps on other machines, in the order of the table.

    Runs of one cell differ in nothing but the seed: where a cell has new results, earlier ones with other settings are
    dropped.
    """
    path = folder / f"{table.name}.json"
    earlier: list[CellResult] = json.loads(path.read_text()) if path.is_file() else []
    new, before = by_cell(found), by_cell(earlier)
    together: list[CellResult] = []
    for cell in table:
        own = new.get((cell.row, cell.column), [])
        seeds = {result["seed"] for result in own}
        kept = [
            result
            for result in before.get((cell.row, cell.column), [])
            if result["seed"] not in seeds and (not own or settings(table, result) == settings(table, own[0]))
        ]
        together += sorted([*own, *kept], key=lambda result: result["seed"])
    return together


def by_cell(found: Iterable[CellResult]) -> dict[tuple[str, str], list[CellResult]]:
    cells: dict[tuple[str, str], list[CellResult]] = {}
    for result in found:
        cells.setdefault((result["row"], result["column"]), []).append(result)
    return cells


def settings(table: PaperTable, result: CellResult) -> set[str]:
    """The settings of a result's run, but for the seed."""
    return {word for word in result["command"] if word.partition("=")[0] not in table.seeds}


def markdown(table: PaperTable, found: Sequence[CellResult]) -> str:
    results = by_cell(found)
    cells = {(cell.row, cell.column): cell for cell in table}
    lines = [table.title, "", f"| | {' | '.join(table.columns)} |", "|---" * (len(table.columns) + 1) + "|"]
    for row in table.rows:
        asked = [cells.get((row, column)) for column in table.columns]
        shown = [cell_text(cell, results.get((cell.row, cell.column), [])) if cell else "" for cell in asked]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", " ".join([legend(results.values()), *table.remarks]), ""])


def cell_text(cell: PaperCell, found: Sequence[CellResult]) -> str:
    """Our mean and the paper's number in brackets, with the gap unless ours is better: bold where the 95 % interval of
    our mean is beyond the paper's number."""
    factor = scale(cell.metric)
    paper = "" if cell.published is None else f" ({cell.published * factor:.1f})"
    if not found:
        return f"–{paper}"
    values = [result["value"] * factor for result in found]
    interval = half_interval(values)
    ours = f"{mean(values):.1f}" + ("" if interval is None else f" ± {interval:.1f}")
    if cell.published is None:
        return ours
    gap = mean(values) - cell.published * factor
    worse = direction(cell.metric) * gap
    if interval is not None and worse + interval <= 0:
        return f"**{ours}**{paper}"
    return f"{ours}{paper}" if round(worse, 1) <= 0 else f"{ours}{paper[:-1]}; {gap:+.1f})"


def legend(cells: Collection[Sequence[CellResult]]) -> str:
    """The caption: how to read the numbers, and the settings that they share."""
    found = [result for cell in cells for result in cell]
    samples, epochs, seeds = (listed(result[key] for result in found) for key in ("eval_samples", "epochs", "seed"))
    if len({tuple(result["seed"] for result in cell) for cell in cells}) > 1:
        seeds += ", not all of them in every cell"
    data = listed(f"{result['data']['name']} ({result['data']['binarization']})" for result in found)
    return (
        "Ours (the paper's; the gap where ours is worse); bold: better, with its whole interval; –: not run. "
        f"{data}; all test images; m = {samples}; epochs: {epochs}; seeds: {seeds}; with several, mean ± half its 95 % "
        "interval (Student's t)."
    )


def listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(set(values))))
