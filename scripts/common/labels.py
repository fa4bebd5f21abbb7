"""Names beside the points and lines of a figure, without a legend."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

DISTANCES = (5, 11, 18, 26, 36, 48, 62)
"""Points, typographic."""
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
DIRECTIONS += ((0.5, 1), (-0.5, 1), (0.5, -1), (-0.5, -1), (1, 0.5), (-1, 0.5), (1, -0.5), (-1, -0.5))


def label_points(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    others: Sequence[tuple[float, float]] = (),
    size: float = 7,
) -> None:
    """Writes each name beside its point where it covers no other point or name, with a thin line where that is far off.

    others: points without a name. Call it when the limits and scales of the axes are final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    places = {name: axes.transData.transform(point) for name, point in points.items()}
    pixels = figure.dpi / 72  # of a typographic point
    marks = [*places.values(), *map(axes.transData.transform, others)]
    taken = [Bbox.from_bounds(x - 3 * pixels, y - 3 * pixels, 6 * pixels, 6 * pixels) for x, y in marks]
    lines: list[list[tuple[float, float]]] = []
    frame = axes.get_window_extent()
    for name, point in points.items():
        tried = []
        for distance, (right, up) in product(DISTANCES, DIRECTIONS):
            text = axes.annotate(
                name, point, (distance * right, distance * up), textcoords="offset points", fontsize=size,
                ha="left" if right > 0 else "right" if right < 0 else "center",
                va="bottom" if up > 0 else "top" if up < 0 else "center_baseline",
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.6", "shrinkA": 0} if distance > 5 else None,
            )  # fmt: skip
            text.get_window_extent()  # which moves the text to its place
            box = Text.get_window_extent(text).padded(pixels)  # without the line
            outside = not (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
            line = leader(places[name], box) if distance > DISTANCES[0] else []
            covered = 3 * sum(box.overlaps(other) for other in taken) + 6 * outside
            covered += 2 * sum(box.count_contains(other) > 0 for other in lines)
            covered += sum(other.count_contains(line) > 0 for other in taken if line and not other.contains(*line[0]))
            tried.append((covered, text, box, line))
            if covered == 0:
                break
        best = min(tried, key=lambda one: one[0])
        taken.append(best[2])
        lines += [best[3]] if best[3] else []
        for _, text, _, _ in tried:
            if text is not best[1]:
                text.remove()


def leader(start: ArrayLike, box: Bbox) -> list[tuple[float, float]]:
    """Points along the line from a point to the nearest side of a name's box."""
    begin = np.asarray(start)
    end = begin.clip((box.x0, box.y0), (box.x1, box.y1))
    return [tuple(begin + (end - begin) * i / 20) for i in range(20)]


def label_lines(axes: Axes, lines: Sequence[Line2D], size: float = 7) -> None:
    """Writes each line's label right of the axes, beside its last point, in its colour, and leads a thin line there
    where names are moved apart.

    Call it when the limits and scales of the axes are final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame, height = axes.get_window_extent(), 1.2 * size * figure.dpi / 72
    ends = [(line, float(axes.transData.transform(line.get_xydata()[-1])[1])) for line in lines]  # type: ignore[index]
    ends.sort(key=lambda end: end[1])
    places = spread([y for _, y in ends], height, frame.y0, frame.y1)
    for (line, end), place in zip(ends, places, strict=True):
        (x, _), colour = axes.transAxes.inverted().transform((frame.x1, end)), line.get_color()
        start, to = ((y - frame.y0) / frame.height for y in (end, place))
        axes.annotate(
            str(line.get_label()), (x, start), (x + 0.08, to), xycoords="axes fraction", fontsize=size, color=colour,
            va="center_baseline", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Ascending numbers moved as little as gives them distances of `least`, between low and high where there is room.

    >>> spread([1.0, 1.0, 5.0], 2.0, 0.0, 9.0)
    [0.0, 2.0, 5.0]
    """
    groups: list[list[float]] = []  # mean of what would be the first place, and number, of those that touch
    for index, place in enumerate(places):
        groups.append([place - index * least, 1])
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (first, count), (second, more) = groups[-2:]
            groups[-2:] = [[(first * count + second * more) / (count + more), count + more]]
    found = [first for first, count in groups for _ in range(int(count))]
    last = high - (len(places) - 1) * least
    return [max(low, min(first, last)) + index * least for index, first in enumerate(found)]
