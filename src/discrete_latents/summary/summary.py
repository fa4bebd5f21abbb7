"""A summary of the runs below some folders: what is grouped, which metrics are shown, and where it is written."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from discrete_latents.console import console
from discrete_latents.errors import UserError, one_line, suggest
from discrete_latents.runs.metrics import position, short
from discrete_latents.summary.finished_runs import FinishedRun, differing, find, newest
from discrete_latents.summary.html_report import write_html
from discrete_latents.summary.table import tabulate
from discrete_latents.summary.text_report import columns, left_out, markdown, print_table, write_csv

PUBLISHED = Path(__file__).with_name("published.yaml")


def summarize(
    paths: Sequence[Path], by: Sequence[str] | None, metrics: Sequence[str] | None, output: Path | None
) -> None:
    """Prints the table of the runs at or below `paths`, and writes summary.csv, summary.md and summary.html.

    Args:
        by: keys to group by; None for those in which the runs differ.
        metrics: names, whole or short; None for all that were tested.
        output: folder of the files; None for the one that the paths have in common.

    Raises UserError for a path without a completed run, and for a key or metric that no run has.
    """
    runs, outside = counted(paths)
    table = tabulate(runs, chosen_keys(runs, by), chosen_metrics(runs, metrics), PUBLISHED)
    folder = output or common_folder(paths)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"summary.{kind}" for kind in ("csv", "md", "html")]
    write_csv(table, files[0])
    files[1].write_text(markdown(table, outside), encoding="utf-8", errors="backslashreplace")
    missing = write_html(files[2], table, columns(table), outside)
    out = console()
    print_table(table, out)
    for line in [*table.notes, *left_out(outside), *map(one_line, missing), *map(str, files)]:
        out.print(Text(line), soft_wrap=True)


def counted(paths: Sequence[Path]) -> tuple[list[FinishedRun], dict[Path, str]]:
    """The runs that count, and, by folder, why others do not. Raises UserError for a path without any."""
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
    completed, refused = find(paths)
    for path in paths:
        if not any(run.folder.resolve().is_relative_to(folder_of(path)) for run in completed):
            below = [f"{run}: {why}" for run, why in refused.items() if run.resolve().is_relative_to(folder_of(path))]
            first = f": {below[0]}" if below else ""
            more = f"; {len(below) - 1} more" if len(below) > 1 else ""
            raise UserError(f"{path} has no results of a completed run{first}{more}")
    runs, repeated = newest(completed)
    return runs, refused | repeated


def chosen_keys(runs: Sequence[FinishedRun], names: Sequence[str] | None) -> list[str]:
    """What to group by. Raises UserError for a key that no run has."""
    different = differing(runs)
    if names is None:
        return different or ["latent"]
    known = {key for run in runs for key in run.settings}
    for name in names:
        if name not in known:
            raise UserError(f"--by {name} is not a key of any run: {suggest(name, known)}")
    return list(dict.fromkeys([*names, *(key for key in different if key == "evaluation")]))


def chosen_metrics(runs: Sequence[FinishedRun], names: Sequence[str] | None) -> list[str]:
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


def folder_of(path: Path) -> Path:
    return path.resolve().parent if path.is_file() else path.resolve()


def common_folder(paths: Sequence[Path]) -> Path:
    folder = Path(os.path.commonpath([folder_of(path) for path in paths]))
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
