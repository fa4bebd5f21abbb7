"""The tables of papers as files in scripts/tables: what is run for each cell, and what the paper has there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

FOLDER = Path(__file__).with_name("tables")


@dataclass(frozen=True)
class Cell:
    """One number of a table: the settings of the runs that it is a mean of, and the paper's.

    metric: as results.json has it, or train/nelbo. percent: a share, of which more is better; otherwise nats.
    """

    row: str
    column: str
    words: tuple[str, ...]
    metric: str
    published: float | None

    @property
    def percent(self) -> bool:
        return self.metric.endswith("accuracy")

    @property
    def name(self) -> str:
        return f"{self.row}, {self.column}"


@dataclass(frozen=True)
class PaperTable:
    """A file of scripts/tables.

    rows, columns: by name, words for train.py, or {words, metric} where a column has a metric of its own. words: of
    all. cells: further words of single cells, by row and column. published: a list a row, null where there is
    nothing. tune: a setting, its values, the words of short runs, and the rows for which the value with the lowest
    val/nelbo is taken.
    seeds: a setting and its values. remarks: what is not as in the paper.
    """

    name: str
    title: str
    rows: Mapping[str, Any]
    columns: Mapping[str, Any]
    published: Mapping[str, Sequence[float | None]]
    seeds: Mapping[str, Sequence[int]]
    metric: str = "test/nll"
    words: Sequence[str] = ()
    cells: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    tune: Mapping[str, Any] | None = None
    remarks: Sequence[str] = ()

    def __iter__(self) -> Iterator[Cell]:
        for row, row_words in self.rows.items():
            for (column, described), published in zip(self.columns.items(), self.published[row], strict=True):
                own = isinstance(described, Mapping)
                column_words = described["words"] if own else described
                metric = described["metric"] if own else self.metric
                further = self.cells.get(row, {}).get(column, ())
                words = last_of_each([*row_words, *self.words, *column_words, *further])
                yield Cell(row, column, words, metric, published)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> PaperTable:
    content: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    return PaperTable(name=name, **content)


def last_of_each(words: Sequence[str]) -> tuple[str, ...]:
    """The words without those that a later one changes; the experiment and the estimator first."""
    last = {word.partition("=")[0]: word for word in words}
    first = {key: last[key] for key in ("experiment", "latent") if key in last}
    return tuple((first | last).values())


def folder_name(words: Sequence[str]) -> str:
    """The settings of a run as the name of a folder: options by their value, others as key and value."""
    parts = []
    for word in words:
        key, _, value = word.partition("=")
        parts.append(value if key in ("experiment", "latent") else word)
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip("_") for part in parts)
