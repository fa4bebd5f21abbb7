"""The runs of a paper's table: trained where they are missing, and collected cell by cell."""

import re
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from discrete_latents.errors import UserError
from scripts.common.training_run import completed_results, completed_run, logged, mean_of_last
from scripts.reproduce.report import CellResult, report, with_earlier
from scripts.reproduce.table import PaperCell, PaperTable, folder_name, load_table


class Reproduction:
    """The runs of a table.

    Args:
        folder: where the runs are.
        extra: overrides of every run, from the command line.
        jobs: runs at once; 0 starts none.
        budget: the share of the table's steps that its runs take. A larger one continues the runs of a smaller.
    """

    def __init__(self, table: PaperTable, folder: Path, extra: Sequence[str], jobs: int, budget: float = 1.0) -> None:
        self.table = table
        self.folder = folder
        self.extra = tuple(extra)
        self.jobs = jobs
        self.steps = None if table.steps is None else max(1, round(table.steps * budget))

    def train(self, cells: Sequence[PaperCell], seeds: Sequence[int]) -> list[str]:
        """Trains what is missing: first the short runs, then all cells, seed by seed. Returns the runs that are not
        completed."""
        cells = list({cell.overrides: cell for cell in cells}.values())  # several may share a run
        with ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self.tune, [overrides for cell in cells for overrides in self.candidates(cell)]))
            chosen = {cell.overrides: self.chosen(cell) for cell in cells}
            runs = [[*overrides, self.seed(seed)] for seed in seeds for overrides in chosen.values() if overrides]
            completed = list(pool.map(lambda run: self.complete(run, self.place(run), self.steps), runs))
        unchosen = [folder_name(cell) for cell, overrides in chosen.items() if not overrides]
        return unchosen + [folder_name(overrides) for overrides, done in zip(runs, completed, strict=True) if not done]

    def complete(self, overrides: Sequence[str], folder: Path, steps: int | None = None) -> bool:
        """Trains a run unless it is completed. Returns whether it is in the end."""
        if completed_results(folder, steps) is not None:
            return True
        completed = completed_run([*overrides, *self.extra], folder, self.jobs > 1, steps) is not None
        print(f"{folder}: {'completed' if completed else 'failed, or another process runs it'}", flush=True)
        return completed

    def candidates(self, cell: PaperCell) -> list[list[str]]:
        """The overrides of a cell with each value of its tuned setting; empty if the cell has none."""
        tune = self.table.tune
        if tune is None or cell.row not in tune["rows"]:
            return []
        return [[*cell.overrides, f"{tune['setting']}={value}"] for value in tune["values"]]

    def tune(self, overrides: Sequence[str]) -> None:
        """Trains a short run."""
        self.complete([*overrides, *self.table.short], self.place(["tune", *overrides]))

    def tried(self, cell: PaperCell) -> list[float | None]:
        """The lowest val/nelbo of each short run of a cell; None for a run that is not completed."""
        folders = [self.place(["tune", *overrides]) for overrides in self.candidates(cell)]
        return [min(logged(folder, "val/nelbo")) if completed_results(folder) else None for folder in folders]

    def chosen(self, cell: PaperCell) -> list[str] | None:
        """The overrides of a cell with the best value of its tuned setting; None while short runs are missing."""
        candidates = self.candidates(cell)
        bounds = [bound for bound in self.tried(cell) if bound is not None]
        if not candidates:
            return list(cell.overrides)
        return candidates[bounds.index(min(bounds))] if len(bounds) == len(candidates) else None

    def place(self, overrides: Sequence[str]) -> Path:
        return self.folder / folder_name([*overrides, *self.extra])

    def seed(self, value: int) -> str:
        return f"{next(iter(self.table.seeds))}={value}"

    def found(self, cell: PaperCell, seed: int) -> CellResult | None:
        """The result of a cell's run, with its settings; None if it is not completed."""
        chosen = self.chosen(cell)
        overrides = [*(chosen or ()), self.seed(seed)]
        done = completed_results(self.place(overrides), self.steps) if chosen else None
        if done is None:
            return None
        metrics: dict[str, Any] = done["metrics"]
        if cell.metric == "train/nelbo":  # of hard samples, what is trained on: the mean over the last epoch
            metrics = metrics | {cell.metric: mean_of_last(self.place(overrides), cell.metric, done["epochs"])}
        kept = ("eval_samples", "epochs", "steps", "seconds", "parameters", "data", "versions", "git")
        tried = zip(self.candidates(cell), self.tried(cell), strict=True)
        length = [] if self.steps is None else [f"trainer.max_steps={done['steps']}"]
        return {
            "row": cell.row,
            "column": cell.column,
            "seed": seed,
            "value": metrics[cell.metric],
            "metric": cell.metric,
            "published": cell.published,
            "command": ["train.py", *overrides, *self.extra, *length],
            "tried": {candidate[-1]: bound for candidate, bound in tried},
            "metrics": metrics,
            **{name: done[name] for name in kept},
        }


def reproduce(arguments: Namespace) -> None:
    """Trains the cells that `arguments` chooses, and writes the table's report.

    Raises UserError if no cell is chosen, none is completed, or some runs failed.
    """
    table = load_table(arguments.table)
    if table.steps is None:
        table = replace(table, budget=arguments.budget)
    try:
        cells = [cell for cell in table if re.search(arguments.only, cell.name)]
    except re.error as error:
        raise UserError(f"--only {arguments.only} is not a regular expression: {error}") from error
    if not cells:
        listed = "; ".join(cell.name for cell in table)
        raise UserError(f"--only {arguments.only} matches no cell of {table.name}: {listed}")
    values = next(iter(table.seeds.values()))
    seeds = arguments.seeds or values
    runs = Reproduction(table, arguments.runs / table.name, arguments.overrides, arguments.jobs, arguments.budget)
    failed = runs.train(cells, seeds) if arguments.jobs else []
    found = [row for cell in table for seed in sorted({*values, *seeds}) if (row := runs.found(cell, seed))]
    if found := with_earlier(table, found, arguments.output):
        report(table, found, arguments.output)
    elif not failed:
        raise UserError(f"{runs.folder} has no completed run of {table.name}")
    if failed:
        raise UserError(f"not completed, {len(failed)}: {', '.join(failed)}")
