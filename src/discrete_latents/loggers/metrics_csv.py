"""Logs every value of a run into metrics.csv."""

import csv
import io
import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.atomic_write import atomic_write
from discrete_latents.errors import UserError
from discrete_latents.runs.files import read_table, reason

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
        try:
            if row.keys() <= set(self.columns):
                with self.path.open("r+", newline="") as file:  # which creates no file where the run was moved away
                    file.seek(0, io.SEEK_END)
                    csv.DictWriter(file, self.columns).writerow(row)
            else:
                self.write()
        except OSError as error:
            raise UserError(f"{self.path} cannot be written any more: {error.strerror}") from error

    def write(self) -> None:
        """Rewrites the file atomically, with the columns of all rows. Raises FileNotFoundError where it was moved."""
        assert self.rows is not None
        if self.columns:
            self.path.stat()
        self.columns = ["step", *sorted(set().union(*self.rows) - {"step"})]
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        atomic_write(self.path, table.getvalue())

    def read(self) -> list[dict[str, Any]]:
        """The rows in the file, without empty cells. Raises UserError if it is not such a table."""
        try:
            return list(read_table(self.path))
        except FileNotFoundError:
            return []
        except UserError as error:
            how = "move it away, and the run goes on in a new one"
            raise UserError(f"{self.path} is not a table of metrics; {how}: {reason(self.path, error)}") from error


def is_test(row: Mapping[str, Any]) -> bool:
    """Whether a row holds the metrics of a test."""
    return any(name.startswith("test/") for name in row)
