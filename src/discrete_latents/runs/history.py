"""What a run has logged, as a table: a row for each logged step, a column for each name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from discrete_latents.runs.files import read_table
from discrete_latents.runs.metrics import metric, position, short

CURVES = ("nelbo", "relaxed_nelbo", "loss")
"""The metrics that are drawn where none are named."""
SHOWN = 3
"""Rows at each end of a table as text."""


class History(dict[str, np.ndarray]):
    """NumPy arrays of one length by name, "step" first; NaN where a step has no such value. Test metrics are not in it.

    Plain arrays whatever is installed, so that code works everywhere; `pandas.DataFrame(history)` is the same table.
    """

    def __repr__(self) -> str:
        count = len(self["step"])
        rows = [*range(min(SHOWN, count)), *range(max(SHOWN, count - SHOWN), count)]
        columns = [[name, *(f"{self[name][row]:.6g}" for row in rows)] for name in self]
        lines = [f"{count} logged steps of {len(self)} columns: {', '.join(self)}"]
        for start in range(0, len(columns), 6):
            block = columns[start : start + 6]
            widths = [max(map(len, column)) for column in block]
            for cells in zip(*block, strict=True):
                lines.append("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))
        return "\n".join(lines)

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps at which a value was logged, and the values. Raises KeyError, which lists the names."""
        if name not in self:
            raise KeyError(f"{name} was not logged; there are {', '.join(self)}")
        there = ~np.isnan(self[name])
        return self["step"][there], self[name][there]

    def plot(self, names: Sequence[str] = ()) -> Any:
        """A matplotlib figure of the curves of some columns over the step; of the training objective and the validation
        bounds where none are named."""
        import matplotlib.pyplot as plt

        figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
        plt.close(figure)  # a notebook shows what is returned, and would show it twice
        names = names or [name for name in self if short(name) in CURVES] or [*self][1:]
        for name in names:
            steps, values = self.curve(name)
            axis.plot(steps, values, marker="." if len(steps) < 30 else "", label=name)
        axis.set(xlabel="step", ylabel=" / ".join(sorted({metric(name).unit for name in names} - {""})))
        axis.legend()
        return figure


def read_history(path: Path) -> History:
    """The history in a metrics.csv, empty where there is none. Raises UserError for a damaged file."""
    try:
        rows = read_table(path)
    except FileNotFoundError:
        rows = []
    steps: dict[int, dict[str, float]] = {}
    for row in rows:
        if not any(name.startswith("test/") for name in row):
            steps.setdefault(int(row["step"]), {}).update({name: float(row[name]) for name in row})
    names = sorted(set().union(*steps.values()) - {"step", "epoch"}, key=position)
    table = [steps[step] for step in sorted(steps)]
    return History({name: np.array([row.get(name, np.nan) for row in table]) for name in ("step", "epoch", *names)})
