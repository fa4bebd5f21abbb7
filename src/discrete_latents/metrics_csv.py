"""metrics.csv: every logged value of a run."""

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsCSV(Logger):
    """Writes one row a logged step into `path`, at once, so that a killed run keeps what it had.

    A resumed run goes on in the same file: rows from the step at which it starts are replaced. (Lightning's own
    CSVLogger deletes what is there.)
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict[str, Any]] | None = None
        self.columns: list[str] = []

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Nothing: the configuration is in the run's `.hydra` folder."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {"step": step, **metrics}
        if self.rows is None:
            # At that step itself, rows of other metrics are of before the checkpoint: a validation, say.
            first = step or 0
            self.rows = [
                old
                for old in self.read()
                if int(old["step"]) < first or (int(old["step"]) == first and old.keys() != row.keys())
            ]
            self.columns = []
        self.rows.append(row)
        columns = ["step", *sorted(set().union(*self.rows) - {"step"})] if not row.keys() <= set(self.columns) else []
        if columns:
            self.columns = columns
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self.rows)
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def read(self) -> list[dict[str, Any]]:
        """The rows of an earlier part of this run."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
