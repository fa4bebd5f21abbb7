"""Learning curves as data of a page, which draws them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from discrete_latents.runs.metrics import metric, position, short

POINTS = 400
"""At most, of a curve."""

BOUNDS = ("nelbo", "relaxed_nelbo")
"""Share a chart: the gap between them is what relaxing hid."""

SPLITS = ("val", "train")
"""In the order of colours; test values are numbers, not curves."""

COLOURS = ("#3f86c8", "#dd7a35", "#3a9d5d", "#cc5151", "#8c6bc0", "#b08a2e", "#cf62a4", "#3f9f9c", "#7f8a94", "#8f6149")

Curve = list[tuple[float, float]]
"""A metric by step, or by epoch."""


def curves_of(rows: Iterable[Mapping[str, str]]) -> dict[str, Curve]:
    """The curve of each metric in the rows of metrics.csv, tests left out. Values that are not finite are gaps."""
    found: dict[str, Curve] = {}
    for row in rows:
        for name, text in row.items():
            if name not in ("step", "epoch") and "step" in row and not name.startswith("test/"):
                value = float(text)
                if math.isfinite(value):
                    found.setdefault(name, []).append((int(row["step"]), value))
    return {name: sorted(curve) for name, curve in found.items()}


def charts(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """One chart for each metric that changes: its title, unit, vertical range, and the lines of its splits."""
    by_title: dict[str, list[str]] = {}
    for name in sorted(curves, key=order):
        if len({value for _, value in curves[name]}) > 1:
            by_title.setdefault("bound" if short(name) in BOUNDS else short(name), []).append(name)
    return [
        {
            "title": title,
            "at": "step",
            "unit": metric(names[0]).unit,
            "range": vertical_range([curves[name] for name in names]),
            "lines": [
                {
                    "label": name,
                    "colour": COLOURS[SPLITS.index(split) if (split := name.split("/")[0]) in SPLITS else 0],
                    "dashes": "5 3" if short(name) == "relaxed_nelbo" else "none",
                    "points": points(curves[name]),
                }
                for name in names
            ],
        }
        for title, names in by_title.items()
    ]


def order(name: str) -> tuple[bool, tuple[int, bool, str], int]:
    """Bounds first, then as in tables, validation before training."""
    split = name.split("/")[0]
    return short(name) not in BOUNDS, position(short(name)), SPLITS.index(split) if split in SPLITS else len(SPLITS)


def points(curve: Curve) -> Curve:
    kept = curve[:: math.ceil(len(curve) / POINTS) or 1]
    return kept if kept[-1] == curve[-1] else [*kept, curve[-1]]


def vertical_range(curves: list[Curve]) -> tuple[float, float]:
    """The lowest and highest value, with margins, without the beginning where it would flatten the rest."""
    points = [point for curve in curves for point in curve]
    values = [value for _, value in points]
    margin = 0.06 * (max(values) - min(values)) or 0.06 * abs(values[0]) or 1.0
    return late_range(points) or (min(values) - margin, max(values) + margin)


def late_range(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The range of the values after the first tenth of training, with margins; None where they are not much closer
    together than all are."""
    last = max((step for step, _ in points), default=0)
    every, late = [value for _, value in points], [value for step, value in points if step >= last / 10]
    if not late or not 0 < 2 * (max(late) - min(late)) < max(every) - min(every):
        return None
    margin = 0.06 * (max(late) - min(late))
    return min(late) - margin, max(late) + margin
