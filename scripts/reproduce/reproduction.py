"""A paper's table: every cell trained and tested, and set beside what the paper reports.

    python scripts/reproduce.py jang_table1                                # all 28 cells, three seeds
    python scripts/reproduce.py jang_table1 --only 'VAE' --seeds 0 --jobs 2
    python scripts/reproduce.py jang_table1 trainer=gpu                    # settings of train.py, for all runs
    python scripts/reproduce.py jang_table1 --jobs 0                       # the tables of what is there, nothing run

Writes results/TABLE.json and TABLE.md, and leaves in them what runs on other machines came to. The tables are in
scripts/tables, their experiments in configs/experiment/paper. Where a table says so, a setting is first chosen by short
runs on validation images. A completed run in logs/reproduce/TABLE is not repeated, a stopped one is continued, and
several calls at once share the work.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import class_scaling
from paper_report import report, with_earlier
from paper_tables import Cell, PaperTable, folder_name, names, read
from running import logged, mean_of_last, results, run

from discrete_latents.errors import UserError

FIGURE5 = "jang_figure5"


class Reproduction:
    """The runs of a table. folder: where they are. extra: words for every run. jobs: how many at once; 0 runs none."""

    def __init__(self, table: PaperTable, folder: Path, extra: Sequence[str], jobs: int) -> None:
        self.table = table
        self.folder = folder
        self.extra = tuple(extra)
        self.jobs = jobs

    def train(self, cells: Sequence[Cell], seeds: Sequence[int]) -> list[str]:
        """Runs what is not there yet: the short runs, then all cells of one seed before the next seed. Returns the
        runs that are not completed."""
        cells = list({cell.words: cell for cell in cells}.values())  # several may share a run
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self.tune, [words for cell in cells for words in self.candidates(cell)]))
            chosen = {cell.words: self.chosen(cell) for cell in cells}
            runs = [[*words, self.seed(seed)] for seed in seeds for words in chosen.values() if words]
            ended = list(pool.map(lambda words: self.start(words, self.place(words)), runs))
        unchosen = [folder_name(cell) for cell, words in chosen.items() if not words]
        return unchosen + [folder_name(words) for words, done in zip(runs, ended, strict=True) if not done]

    def start(self, words: Sequence[str], folder: Path) -> bool:
        """Whether the run is completed in the end."""
        if results(folder) is not None:
            return True
        ended = run([*words, *self.extra], folder, quiet=self.jobs > 1) is not None
        print(f"{folder}: {'completed' if ended else 'failed, or another process is at it'}", flush=True)
        return ended

    def candidates(self, cell: Cell) -> list[list[str]]:
        """The words of a cell with each value of the setting that is chosen for it; none where none is."""
        tune = self.table.tune
        if tune is None or cell.row not in tune["rows"]:
            return []
        return [[*cell.words, f"{tune['setting']}={value}"] for value in tune["values"]]

    def tune(self, words: Sequence[str]) -> None:
        """A short run."""
        assert self.table.tune
        self.start([*words, *self.table.tune["words"]], self.place(["tune", *words]))

    def tried(self, cell: Cell) -> list[float | None]:
        """The lowest val/nelbo of each short run."""
        folders = [self.place(["tune", *words]) for words in self.candidates(cell)]
        return [min(logged(folder, "val/nelbo")) if results(folder) else None for folder in folders]

    def chosen(self, cell: Cell) -> list[str] | None:
        """The words of a cell and what its short runs chose; None where one of them is missing."""
        candidates = self.candidates(cell)
        bounds = [bound for bound in self.tried(cell) if bound is not None]
        if not candidates:
            return list(cell.words)
        return candidates[bounds.index(min(bounds))] if len(bounds) == len(candidates) else None

    def place(self, words: Sequence[str]) -> Path:
        return self.folder / folder_name([*words, *self.extra])

    def seed(self, value: int) -> str:
        return f"{next(iter(self.table.seeds))}={value}"

    def found(self, cell: Cell, seed: int) -> dict[str, Any] | None:
        """What a cell's run came to, with its settings."""
        chosen = self.chosen(cell)
        words = [*(chosen or ()), self.seed(seed)]
        done = results(self.place(words)) if chosen else None
        if done is None:
            return None
        metrics = done["metrics"]
        if cell.metric == "train/nelbo":  # of hard samples, what is trained on: the mean over the last epoch
            metrics = metrics | {cell.metric: mean_of_last(self.place(words), cell.metric, done["epochs"])}
        kept = ("eval_samples", "epochs", "steps", "seconds", "parameters", "data", "versions", "git")
        return {
            "row": cell.row,
            "column": cell.column,
            "seed": seed,
            "value": metrics[cell.metric],
            "metric": cell.metric,
            "published": cell.published,
            "command": ["train.py", *words, *self.extra],
            "tried": {words[-1]: bound for words, bound in zip(self.candidates(cell), self.tried(cell), strict=True)},
            "metrics": metrics,
            **{name: done[name] for name in kept},
        }


def reproduce(arguments: argparse.Namespace) -> None:
    table = read(arguments.table)
    cells = [cell for cell in table if re.search(arguments.only, cell.name)]
    if not cells:
        listed = "; ".join(cell.name for cell in table)
        raise UserError(f"--only {arguments.only} matches no cell of {table.name}: {listed}")
    values = next(iter(table.seeds.values()))
    seeds = arguments.seeds or values
    runs = Reproduction(table, arguments.runs / table.name, arguments.overrides, arguments.jobs)
    failed = runs.train(cells, seeds) if arguments.jobs else []
    found = [row for cell in table for seed in sorted({*values, *seeds}) if (row := runs.found(cell, seed))]
    if found := with_earlier(table, found, arguments.output):
        report(table, found, arguments.output)
    elif not failed:
        raise UserError(f"{runs.folder} has no completed run of {table.name}")
    if failed:
        raise UserError(f"not completed, {len(failed)}: {', '.join(failed)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*names(), FIGURE5])
    parser.add_argument("--only", metavar="REGEX", default="", help="cells, by 'row, column'")
    parser.add_argument("--seeds", nargs="+", type=int, help="in place of the table's")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, of one thread each; 0: none")
    parser.add_argument("--runs", type=Path, default=Path("logs/reproduce"))
    parser.add_argument("--output", type=Path, default=Path("results"))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of train.py")
    arguments = parser.parse_intermixed_args()
    if arguments.table == FIGURE5:
        class_scaling.measure_all(arguments.output)
        return
    try:
        reproduce(arguments)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
