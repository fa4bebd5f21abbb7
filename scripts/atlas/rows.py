"""A row of the atlas: what was measured of an estimator."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

STEPS = 10_000
"""Of a run at budget 1."""

DRAWS = 20_000
"""Of each gradient at budget 1."""

CRITERIA = {
    "nll_time": ("time", "nll"),
    "nelbo_time": ("time", "nelbo"),
    "nll_steps": ("steps", "nll"),
    "nelbo_steps": ("steps", "nelbo"),
}
"""By name, after what a run is tested, and what is compared there; all in nats, lower is better."""

COLUMNS = (*CRITERIA, "bias", "sd", "cost", "memory", "latent")
"""What rows can be sorted by."""


class Row(NamedTuple):
    """What was measured of an estimator: cost, gradient, and a result for each seed."""

    shape: str
    latent: str
    cost: Mapping[str, Any]
    gradient: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]

    def values(self, criterion: str) -> list[dict[str, Any]]:
        """By seed; without runs that ended in what is not finite."""
        when, metric = CRITERIA[criterion]
        found = [{"seed": run["seed"], "value": run[when][metric]} for run in self.runs]
        return [run for run in found if run["value"] is not None]

    def mean(self, criterion: str) -> float:
        """Infinite where a run is missing or is not finite."""
        values = [run["value"] for run in self.values(criterion)]
        return mean(values) if values and len(values) == len(self.runs) else float("inf")

    @property
    def trains_one_sample(self) -> bool:
        return self.gradient.get("samples", 1) == 1


def best(rows: Sequence[Row], criterion: str) -> Row:
    return min(rows, key=lambda row: row.mean(criterion))
