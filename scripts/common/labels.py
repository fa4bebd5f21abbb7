"""Names beside the points of a figure, without a legend."""

from collections.abc import Mapping
from itertools import product

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

DISTANCES = (5, 11, 18, 26, 36, 48)
"""Points, typographic."""
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
ALIGNED = {-1: "right", 0: "center", 1: "left"}


def label_points(axes: Axes, points: Mapping[str, tuple[float, float]], size: float = 7) -> None:
    """Writes each name beside its point where it covers no other point or name, with a thin line where that is far off.

    Call it when the limits and scales of the axes are final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    places = {name: axes.transData.transform(point) for name, point in points.items()}
    pixels = figure.dpi / 72  # of a typographic point
    taken = [Bbox.from_bounds(x - 3 * pixels, y - 3 * pixels, 6 * pixels, 6 * pixels) for x, y in places.values()]
    frame = axes.get_window_extent()
    for name, point in points.items():
        tried = []
        for distance, (right, up) in product(DISTANCES, DIRECTIONS):
            text = axes.annotate(
                name, point, (distance * right, distance * up), textcoords="offset points", fontsize=size,
                ha=ALIGNED[right], va="center_baseline" if up == 0 else "bottom" if up > 0 else "top",
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.6", "shrinkA": 0} if distance > 5 else None,
            )  # fmt: skip
            text.get_window_extent()  # which moves the text to its place
            box = Text.get_window_extent(text).padded(pixels)  # without the line
            outside = not (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
            covered = sum(box.overlaps(other) for other in taken) + 2 * outside
            tried.append((covered, text, box))
            if covered == 0:
                break
        best = min(tried, key=lambda one: one[0])
        taken.append(best[2])
        for _, text, _ in tried:
            if text is not best[1]:
                text.remove()
