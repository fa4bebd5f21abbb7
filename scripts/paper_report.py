"""A reproduced table as JSON, with all that its numbers come from, and as Markdown, beside the paper's numbers."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from measuring import write_report
from paper_tables import Cell, PaperTable


def report(table: PaperTable, found: Sequence[dict[str, Any]], folder: Path) -> None:
    write_report(folder, table.name, list(found), markdown(table, found))


def markdown(table: PaperTable, found: Sequence[dict[str, Any]]) -> str:
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in found:
        by_cell.setdefault((result["row"], result["column"]), []).append(result)
    cells = {(cell.row, cell.column): cell for cell in table}
    lines = [table.title, "", f"| | {' | '.join(table.columns)} |", "|---" * (len(table.columns) + 1) + "|"]
    for row in table.rows:
        shown = [text(cells[row, column], by_cell.get((row, column), [])) for column in table.columns]
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", " ".join([legend(by_cell.values()), *table.remarks]), ""])


def text(cell: Cell, found: Sequence[dict[str, Any]]) -> str:
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


def legend(cells: Collection[Sequence[dict[str, Any]]]) -> str:
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
