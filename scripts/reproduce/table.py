"""Tables of papers, from scripts/reproduce/tables: the runs of each cell, and the number that the paper reports."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from discrete_latents.errors import UserError

FOLDER = Path(__file__).with_name("tables")


@dataclass(frozen=True)
class PaperCell:
    """One number of a table.

    Args:
        overrides: settings of train.py of its runs, but for the seed.
        metric: a metric of results.json, or train/nelbo. Accuracies are shares, higher is better; all others are nats.
        published: the paper's number, if it has one.
    """

    row: str
    column: str
    overrides: tuple[str, ...]
    metric: str
    published: float | None

    @property
    def name(self) -> str:
        return f"{self.row}, {self.column}"


@dataclass(frozen=True)
class PaperTable:
    """A file of scripts/reproduce/tables.

    Args:
        rows, columns: by name, overrides of train.py; {overrides, metric, budget} for a column of its own metric or
            budget. Where rows differ in more than the estimator, "MODEL, ESTIMATOR".
        published: by row, the paper's numbers in the order of the columns; null where it has none.
        seeds: one setting and its values.
        overrides: of all runs.
        cells: by row and column, further overrides of single cells; null: the table has no such cell.
        estimators: what is compared, "columns" or "rows"; the differences are from the best, or from `reference`.
        reference: a column, as it is the other columns change one factor.
        budget: multiplies trainer.max_epochs of all cells, which must have it then, and the steps of their schedules;
            so does the budget of a column. Not used where there are `steps`.
        tune: {setting, values, overrides, rows}: for these rows, the value of the setting is the one with the lowest
            val/nelbo in short runs with these overrides. Short runs of so many epochs are scaled by the budget too.
        steps: optimiser steps of a run at the paper's budget, of which --budget takes a share; None: what the overrides
            say.
        remarks: what differs from the paper.
    """

    name: str
    title: str
    rows: Mapping[str, Any]
    columns: Mapping[str, Any]
    published: Mapping[str, Sequence[float | None]]
    seeds: Mapping[str, Sequence[int]]
    metric: str = "test/nll"
    overrides: Sequence[str] = ()
    cells: Mapping[str, Mapping[str, Sequence[str] | None]] = field(default_factory=dict)
    tune: Mapping[str, Any] | None = None
    steps: int | None = None
    remarks: Sequence[str] = ()
    estimators: str = "columns"
    reference: str | None = None
    budget: float = 1.0

    @property
    def short(self) -> tuple[str, ...]:
        """The overrides of short runs."""
        overrides = self.tune["overrides"] if self.tune else ()
        return scaled(overrides, self.budget) if has_epochs(overrides) else tuple(overrides)

    def __iter__(self) -> Iterator[PaperCell]:
        for row, row_overrides in self.rows.items():
            for (column, described), published in zip(self.columns.items(), self.published[row], strict=True):
                own = described if isinstance(described, Mapping) else {"overrides": described}
                further = self.cells.get(row, {}).get(column, ())
                if further is None:
                    continue
                overrides = last_of_each([*row_overrides, *self.overrides, *own["overrides"], *further])
                overrides = scaled(overrides, self.budget * own.get("budget", 1))
                yield PaperCell(row, column, overrides, own.get("metric", self.metric), published)


EPOCHS = "trainer.max_epochs"
SCHEDULES = ("lr_schedule.warmup", "temperature.steps")
"""In steps, of a run at full budget."""


def scaled(overrides: Sequence[str], budget: float) -> tuple[str, ...]:
    """The overrides with their epochs and schedules times `budget`, at least 1. Raises UserError without epochs."""
    if budget == 1:
        return tuple(overrides)
    if not has_epochs(overrides):
        raise UserError(f"a budget needs {EPOCHS}=… among the overrides of each cell")
    pairs = [override.partition("=") for override in overrides]
    return tuple(
        f"{key}={max(1, round(budget * int(value)))}" if key in (EPOCHS, *SCHEDULES) else f"{key}{equals}{value}"
        for key, equals, value in pairs
    )


def has_epochs(overrides: Sequence[str]) -> bool:
    return any(override.startswith(f"{EPOCHS}=") for override in overrides)


def table_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_table(name: str) -> PaperTable:
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    return PaperTable(name=name, **content)


def last_of_each(overrides: Sequence[str]) -> tuple[str, ...]:
    """The last override of each setting; the experiment and the estimator first."""
    last = {override.partition("=")[0]: override for override in overrides}
    first = {key: last[key] for key in ("experiment", "latent") if key in last}
    return tuple((first | last).values())


def folder_name(overrides: Sequence[str]) -> str:
    """The overrides of a run as the name of a folder: of `experiment` and `latent` the value alone."""
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        parts.append(value if key in ("experiment", "latent") else override)
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip("_") for part in parts)
