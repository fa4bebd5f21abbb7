"""Logs every value of a run into metrics.csv."""

import csv
import io
import logging
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.atomic_write import atomic_write
from discrete_latents.errors import UserError

log = logging.getLogger(__name__)


class MetricsCSV(Logger):
    """Writes one row for each logged step into `path`, at once, so that a killed run keeps its rows.

    A resumed run continues in the same file, with `continue_after` the row count of its checkpoint. (Lightning's own
    CSVLogger deletes the file.) Raises UserError if the file is not such a table.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict[str, Any]] | None = None
        self.dropped: list[dict[str, Any]] = []
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
        """Does nothing: the configuration is saved in the run's `.hydra` folder."""

    def count(self) -> int:
        """The number of rows."""
        if self.rows is None:
            self.rows = self.read()
        return len(self.rows)

    def continue_after(self, count: int) -> None:
        """Continues after the first `count` rows: later ones are of steps that will be repeated, except the test that
        ended a shorter run. The file stays as it is until something is logged. Warns of rows that are missing."""
        rows = self.read()
        self.rows, self.dropped = rows[:count], rows[count:]
        if len(rows) < count:
            rank_zero_only(log.warning)(
                "%s has %d rows, of the %d that stood there when the checkpoint was written: the others are lost",
                *(self.path, len(rows), count),
            )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {"step": step, **metrics}
        self.count()
        assert self.rows is not None
        self.rows += [old for old in self.dropped if is_test(old)]
        self.dropped = []
        if is_test(row):
            kept = [old for old in self.rows if str(old.get("step")) != str(step) or old.keys() != row.keys()]
            if len(kept) < len(self.rows):  # the same test again
                self.rows, self.columns = kept, []
        self.rows.append(row)
        if row.keys() <= set(self.columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        else:
            self.write()

    def write(self) -> None:
        """Rewrites the file atomically, with the columns of all rows."""
        assert self.rows is not None
        self.columns = ["step", *sorted(set().union(*self.rows) - {"step"})]
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write(self.path, table.getvalue())

    def read(self) -> list[dict[str, Any]]:
        """The rows in the file, without empty cells. Raises UserError if it is not such a table."""
        if not self.path.is_file():
            return []
        rows = None
        with self.path.open(newline="") as file, suppress(UnicodeDecodeError, csv.Error):
            reader = csv.DictReader(file, restkey="beyond the last column")
            if "step" in (reader.fieldnames or ["step"]):
                rows = [{name: value for name, value in row.items() if value} for row in reader]
        if rows is None or any("beyond the last column" in row for row in rows):
            raise UserError(f"{self.path} is not a table of metrics; move it away, and the run goes on in a new one")
        return rows


def is_test(row: Mapping[str, Any]) -> bool:
    """Whether a row holds the metrics of a test."""
    return any(name.startswith("test/") for name in row)
