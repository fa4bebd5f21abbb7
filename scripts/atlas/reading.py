"""What the table of a shape of latents says, in words: which estimator to take, by its evidence alone."""

import math
from collections.abc import Callable, Sequence

from scripts.atlas.rows import CRITERIA, Row, best
from scripts.reproduce.paired import differences, told_apart

NEEDS: dict[str, tuple[str, Callable[[Row], bool]]] = {
    "the lowest nll for a given time": ("nll_time", lambda row: True),
    "the lowest nelbo (m = 1) for a given time": ("nelbo_time", lambda row: True),
    "the lowest nll where steps are dear, not time": ("nll_steps", lambda row: True),
    "an unbiased gradient": ("nll_time", lambda row: bool(row.gradient.get("unbiased")) and row.trains_one_sample),
    "hard samples in training, in a step that costs as little": (
        "nll_time",
        lambda row: not row.gradient.get("relaxed") and row.cost["ratio"] < CHEAP,
    ),
}
"""By what is needed, the criterion and which rows come into question."""

CHEAP = 1.5
"""Of the time of a step, over the reference's."""


def level(rows: Sequence[Row], criterion: str) -> tuple[Row, list[Row]]:
    """The best by the mean, and those that its seeds do not tell apart from it, the better first."""
    leader = best(rows, criterion)
    others = [row for row in rows if row is not leader and math.isfinite(row.mean(criterion))]
    same = [row for row in others if not told_apart(differences(row.values(criterion), leader.values(criterion)))]
    return leader, sorted(same, key=lambda row: row.mean(criterion))


def reading(rows: Sequence[Row]) -> str:
    """A table of which estimator to take for what."""
    lines = ["| you need | take | not told apart from it |", "|---|---|---|"]
    for need, (criterion, fits) in NEEDS.items():
        fitting = [row for row in rows if fits(row) and math.isfinite(row.mean(criterion))]
        if not fitting:
            continue
        leader, same = level(fitting, criterion)
        when, metric = CRITERIA[criterion]
        named = ", ".join(f"`{row.latent}`" for row in same) or "none"
        lines.append(
            f"| {need} | `{leader.latent}`: {metric} {leader.mean(criterion):.2f} at the same {when} | {named} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""
