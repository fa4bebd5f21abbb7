"""The table of a summary as text: for the terminal, as Markdown and as CSV."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from discrete_latents.errors import one_line
from discrete_latents.summary.table import MISSING, Table, in_unit, value_text

Column = tuple[str, list[str], list[bool]]
"""Heading, texts, and which of them are best."""


def columns(table: Table) -> list[Column]:
    """Heading, texts and which are best, column by column: keys, number of runs, metrics and papers' results."""
    plain = [False] * len(table.rows)
    found = [(key, [value_text(row.values[i]) for row in table.rows], plain) for i, key in enumerate(table.keys)]
    found.append(("runs", [row.count for row in table.rows], plain))
    for name in table.metrics:
        cells = [row.cells.get(name) for row in table.rows]
        best = [cell is not None and cell.best for cell in cells]
        found.append((table.heading(name), [table.text(name, row) for row in table.rows], best))
        if name in table.published:
            papers = [cell.published[0] if cell and cell.published else None for cell in cells]
            found.append(("published", [MISSING if value is None else in_unit(name, value) for value in papers], plain))
    return found


def print_table(table: Table, console: Console) -> None:
    """Prints a table; below it a second one of the same rows with the columns for which there is no room, and so on."""
    shown = columns(table)
    labels = len(table.keys)
    for number, block in enumerate(blocks(shown, labels, console.width)):
        lines = TerminalTable(title=table.title or None if number == 0 else None)
        for i, (heading, _, _) in enumerate(block):
            lines.add_column(Text(heading), justify="right" if i >= labels else "left", overflow="fold")
        for row in range(len(table.rows)):
            lines.add_row(*(Text(texts[row], "bold green" if best[row] else "") for _, texts, best in block))
        console.print(lines)


def blocks(shown: Sequence[Column], labels: int, width: int) -> list[list[Column]]:
    """The columns of each table of at most `width` characters. The first `labels` columns stand in every one, and at
    least one other."""
    found: list[list[Column]] = []
    for column in shown[labels:]:
        block = [*found[-1], column] if found else [*shown[:labels], column]
        room = sum(3 + max(map(cell_len, (heading, *texts))) for heading, texts, _ in block) + 1 <= width
        if not found:
            found.append(block)
        elif room:
            found[-1] = block
        else:
            found.append([*shown[:labels], column])
    return found


def markdown(table: Table, outside: Mapping[Path, str]) -> str:
    shown = columns(table)
    lines = [
        [escaped(heading) for heading, _, _ in shown],
        [":--" if i <= len(table.keys) else "--:" for i in range(len(shown))],
    ]
    for row in range(len(table.rows)):
        keys = [code_span(texts[row]) for _, texts, _ in shown[: len(table.keys)]]
        numbers = [f"**{texts[row]}**" if best[row] else texts[row] for _, texts, best in shown[len(table.keys) :]]
        lines.append(keys + numbers)
    title = [escaped(table.title), ""] if table.title else []
    remarks = [f"- {escaped(line)}" for line in [*table.notes, *left_out(outside)]]
    return "\n".join([*title, *(f"| {' | '.join(line)} |" for line in lines), "", *remarks]).rstrip() + "\n"


def code_span(text: str) -> str:
    """Text as code in a cell of a table, which no character of it ends."""
    text = one_line(text) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if "`" in (text[0], text[-1]) or (text[0] == text[-1] == " " and text.strip()) else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def escaped(text: str) -> str:
    """Text on one line with Markdown's own characters escaped."""
    return re.sub(r"[\\`*<>|\[\]&~!]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", one_line(text))  # _ within a word is plain


def as_text(value: Any) -> Any:
    """A cell of a CSV file which no spreadsheet takes for a formula; numbers stay numbers."""
    formula = isinstance(value, str) and (value.lstrip()[:1] in tuple("=+-@") or value[:1] in tuple("\t\r\n"))
    return f"'{value}" if formula and value else value


def write_csv(table: Table, path: Path) -> None:
    """Writes all digits; shares as shares, not in percent."""
    headings = [*table.keys, "runs"]
    columns = [[row.values[i] for row in table.rows] for i in range(len(table.keys))]
    columns.append([len(row.runs) for row in table.rows])
    for name in table.metrics:
        cells = [row.cells.get(name) for row in table.rows]
        headings += [name, f"{name} standard error", f"{name} runs"]
        columns += [[cell and getattr(cell, part) for cell in cells] for part in ("mean", "error", "count")]
        if name in table.published:
            headings += [f"{name} published", f"{name} source"]
            columns += [[cell and cell.published and cell.published[i] for cell in cells] for i in (0, 1)]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = [headings, *zip(*columns, strict=True)]
        csv.writer(file).writerows([[as_text(cell) for cell in row] for row in rows])


def left_out(outside: Mapping[Path, str]) -> list[str]:
    """The runs that do not count, with reasons."""
    listed = [f"{folder}: {reason}" for folder, reason in outside.items()]
    return [f"not in the table, {len(listed)}:", *listed] if listed else []
