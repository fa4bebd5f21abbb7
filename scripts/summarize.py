"""What runs add up to: one table of means and standard errors over seeds, and a report to open in a browser.

    python scripts/summarize.py logs/vae_digits/multiruns/STAMP
    python scripts/summarize.py logs --by latent model.network.hidden --metrics nll accuracy --output results

Reads every results.json at or below the paths, evaluations as well, prints a table, and writes summary.csv, summary.md
and summary.html (one file, nothing loaded from elsewhere) into the folder that the paths have in common. Runs are
grouped by what they differ in, seeds apart, or by the keys named: of results.json, of the configuration
(model.network.hidden), or its groups (model/network). Evaluations are never averaged with runs. Of runs with the same
settings and seed the newest counts. What does not count (failed, unfinished, damaged, repeated) is listed.
published.yaml beside this script holds what papers report.
"""

import argparse
import csv
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from finished_runs import Run, differing, find, newest
from rich.console import Console
from rich.table import Table as Lines
from rich.text import Text
from summary_report import write_html
from summary_table import MISSING, Table, in_unit, position, short, show, tabulate

from discrete_latents.errors import UserError, suggest

PUBLISHED = Path(__file__).with_name("published.yaml")


def chosen_keys(runs: Sequence[Run], names: Sequence[str] | None) -> list[str]:
    """What to group by. Raises UserError for a key that no run has."""
    different = differing(runs)
    if names is None:
        return different or ["latent"]
    known = {key for run in runs for key in run.settings}
    for name in names:
        if name not in known:
            raise UserError(f"--by {name} is not a key of any run: {suggest(name, known)}")
    return list(dict.fromkeys([*names, *(key for key in different if key == "evaluation")]))


def chosen_metrics(runs: Sequence[Run], names: Sequence[str] | None) -> list[str]:
    """Metrics by their whole name, where `nll` stands for test/nll and val/nll. Raises UserError for unknown ones."""
    known = sorted({name for run in runs for name in run.metrics}, key=position)
    if names is None:
        return [name for name in known if "/" in name]
    found = []
    for name in names:
        matching = [metric for metric in known if name in (metric, short(metric))]
        if not matching:
            raise UserError(f"--metrics {name} is not a metric of any run: {suggest(name, known)}")
        found += matching
    return list(dict.fromkeys(found))


def columns(table: Table) -> list[tuple[str, list[str], list[bool]]]:
    """Heading, texts and what is best, column by column: keys, seeds, metrics and what papers report."""
    plain = [False] * len(table.rows)
    found = [(key, [show(row.values[i]) for row in table.rows], plain) for i, key in enumerate(table.keys)]
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
    lines = Lines(title=table.title or None)
    shown = columns(table)
    for i, (heading, _, _) in enumerate(shown):
        lines.add_column(Text(heading), justify="right" if i > len(table.keys) else "left", overflow="fold")
    for row in range(len(table.rows)):
        lines.add_row(*(Text(texts[row], "bold green" if best[row] else "") for _, texts, best in shown))
    console.print(lines)


def markdown(table: Table, outside: Mapping[Path, str]) -> str:
    shown = columns(table)
    lines = [
        [escaped(heading) for heading, _, _ in shown],
        [":--" if i <= len(table.keys) else "--:" for i in range(len(shown))],
    ]
    for row in range(len(table.rows)):
        keys = [f"`{texts[row]}`".replace("|", "\\|") for _, texts, _ in shown[: len(table.keys)]]
        numbers = [f"**{texts[row]}**" if best[row] else texts[row] for _, texts, best in shown[len(table.keys) :]]
        lines.append(keys + numbers)
    title = [escaped(table.title), ""] if table.title else []
    remarks = [f"- {escaped(line)}" for line in [*table.notes, *left_out(outside)]]
    return "\n".join([*title, *(f"| {' | '.join(line)} |" for line in lines), "", *remarks]).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text as Markdown shows it as it is."""
    return "".join(f"\\{character}" if character in "\\`*<>|[]" else character for character in text)


def write_csv(table: Table, path: Path) -> None:
    """Numbers in full, shares as shares."""
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
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([headings, *zip(*columns, strict=True)])


def left_out(outside: Mapping[Path, str]) -> list[str]:
    """What does not count, and why."""
    listed = [f"{folder}: {reason}" for folder, reason in outside.items()]
    return [f"not in the table, {len(listed)}:", *listed] if listed else []


def folder_of(path: Path) -> Path:
    return path.resolve().parent if path.is_file() else path.resolve()


def common_folder(paths: Sequence[Path]) -> Path:
    folder = Path(os.path.commonpath([folder_of(path) for path in paths]))
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def summarize(arguments: argparse.Namespace) -> None:
    for path in arguments.paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
    completed, refused = find(arguments.paths)
    for path in arguments.paths:
        if not any(run.folder.resolve().is_relative_to(folder_of(path)) for run in completed):
            below = [f"{run}: {why}" for run, why in refused.items() if run.resolve().is_relative_to(folder_of(path))]
            first = f": {below[0]}" if below else ""
            more = f"; {len(below) - 1} more" if len(below) > 1 else ""
            raise UserError(f"{path} has no results of a completed run{first}{more}")
    runs, repeated = newest(completed)
    outside = refused | repeated
    table = tabulate(runs, chosen_keys(runs, arguments.by), chosen_metrics(runs, arguments.metrics), PUBLISHED)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 250)
    print_table(table, console)
    for line in [*table.notes, *left_out(outside)]:
        console.print(Text(line), soft_wrap=True)
    output = arguments.output or common_folder(arguments.paths)
    output.mkdir(parents=True, exist_ok=True)
    files = [output / f"summary.{kind}" for kind in ("csv", "md", "html")]
    write_csv(table, files[0])
    files[1].write_text(markdown(table, outside))
    write_html(files[2], table, columns(table), outside)
    for file in files:
        console.print(Text(str(file)), soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("logs")], help="folders of runs (default: logs)")
    parser.add_argument("--by", nargs="+", metavar="KEY", help="settings to group by (default: what differs)")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="nll, test/nll, seconds, … (default: all tested)")
    parser.add_argument("--output", type=Path, help="folder of the files written")
    try:
        summarize(parser.parse_args())
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
