"""A reproduced table as JSON, with all that its numbers come from, and as Markdown, beside the paper's numbers."""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from measuring import write_report
from paper_tables import Cell, PaperTable

Result = dict[str, Any]


def report(table: PaperTable, found: Sequence[Result], folder: Path) -> None:
    write_report(folder, table.name, list(found), markdown(table, found))


def with_earlier(table: PaperTable, found: Sequence[Result], folder: Path) -> list[Result]:
    """The results found and those reported before, whose runs are on another machine, in the order of the table. In a
    cell that has new ones, only those of the same settings are kept: a mean is of runs that differ in the seed."""
    path = folder / f"{table.name}.json"
    earlier: list[Result] = json.loads(path.read_text()) if path.is_file() else []
    new, before = by_cell(found), by_cell(earlier)
    together: list[Result] = []
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


def by_cell(found: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    cells: dict[tuple[str, str], list[Result]] = {}
    for result in found:
        cells.setdefault((result["row"], result["column"]), []).append(result)
    return cells


def settings(table: PaperTable, result: Result) -> set[str]:
    """Of a result's run, but for its seed."""
    return {word for word in result["command"] if word.partition("=")[0] not in table.seeds}


def markdown(table: PaperTable, found: Sequence[Result]) -> str:
    results = by_cell(found)
    cells = {(cell.row, cell.column): cell for cell in table}
    lines = [table.title, "", f"| | {' | '.join(table.columns)} |", "|---" * (len(table.columns) + 1) + "|"]
    for row in table.rows:
        shown = [text(cells[row, column], results.get((row, column), [])) for column in table.columns]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", " ".join([legend(results.values()), *table.remarks]), ""])


def text(cell: Cell, found: Sequence[Result]) -> str:
    """Ours, bold where it is at least as good as the paper's, which follows in brackets with the gap if not."""
    scale = 100 if cell.percent else 1
    paper = "" if cell.published is None else f" ({cell.published * scale:.1f})"
    if not found:
        return f"–{paper}"
    values = [result["value"] * scale for result in found]
    ours = f"{mean(values):.1f}" + (f" ± {stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else "")
    if cell.published is None:
        return ours
    gap = mean(values) - cell.published * scale
    if round(-gap if cell.percent else gap, 1) <= 0:
        return f"**{ours}**{paper}"
    return f"{ours}{paper[:-1]}; {gap:+.1f})"


def legend(cells: Collection[Sequence[Result]]) -> str:
    """What the numbers have in common."""
    found = [result for cell in cells for result in cell]
    samples, epochs, seeds = (listed(result[key] for result in found) for key in ("eval_samples", "epochs", "seed"))
    if len({tuple(result["seed"] for result in cell) for cell in cells}) > 1:
        seeds += ", not all of them in every cell"
    data = listed(f"{result['data']['name']} ({result['data']['binarization']})" for result in found)
    return (
        f"Ours (the paper's); bold: at least as good; otherwise the gap; –: not run. {data}; all test images; "
        f"m = {samples}; epochs: {epochs}; seeds: {seeds}; with several, mean ± standard error."
    )


def listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(set(values))))
