"""Figure 5 of Jang et al. 2017: the cost of marginalising the class against one Gumbel sample, by number of classes.

A training step (forward, backward, Adam) of the semi-supervised model on unlabelled images, one thread,
`gumbel_softmax` and `exact` interleaved. The ratio is that of the median times.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import torch

from discrete_latents.latent import Estimator, Exact, GumbelSoftmax
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import SemiSupervised
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization
from scripts.common.labels import label_lines
from scripts.common.report import save_figure, write_report
from scripts.common.step_time import timed_step

PAPER = {10: 2.0, 100: 9.9}
"""Published: steps per second of Gumbel over those of marginalisation, by number of classes."""

IMAGE = (1, 28, 28)


class UnlabelledStep:
    """A training step on the unlabelled bound, repeated on one batch. Each call returns its seconds."""

    def __init__(self, estimator: Estimator, num_classes: int, batch_size: int) -> None:
        self.model = SemiSupervised(
            image_shape=IMAGE,
            num_classes=num_classes,
            network=MLP([512, 256]),
            estimator=estimator,
            likelihood=Bernoulli(),
            optimization=Optimization(torch.optim.Adam),
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        self.batch = torch.rand(batch_size, *IMAGE).round(), torch.zeros(batch_size, dtype=torch.int64)

    def __call__(self) -> float:
        return timed_step(lambda: -self.model(self.batch).mean(), self.optimizer)


def step_times(num_classes: int, batch_size: int, repeats: int) -> dict[str, float]:
    gumbel = UnlabelledStep(GumbelSoftmax(1.0), num_classes, batch_size)
    exact = UnlabelledStep(Exact(max_configurations=num_classes), num_classes, batch_size)
    times = [(gumbel(), exact()) for _ in range(repeats + 2)][2:]  # the first steps allocate
    ratios = sorted(slow / fast for fast, slow in times)
    fast, slow = (median(column) for column in zip(*times, strict=True))
    return {
        "classes": num_classes,
        "gumbel_steps_per_second": 1 / fast,
        "exact_steps_per_second": 1 / slow,
        "ratio": slow / fast,
        "ratio_low": ratios[len(ratios) // 4],
        "ratio_high": ratios[-1 - len(ratios) // 4],
    }


def table(rows: list[dict[str, float]]) -> str:
    lines = [
        "| classes | gumbel_softmax, steps/s | exact, steps/s | ratio (quartiles) | paper |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        paper = PAPER.get(int(row["classes"]), "")
        lines.append(
            f"| {row['classes']} | {row['gumbel_steps_per_second']:.1f} | {row['exact_steps_per_second']:.2f} "
            f"| {row['ratio']:.1f} ({row['ratio_low']:.1f}–{row['ratio_high']:.1f}) | {paper} |"
        )
    return "\n".join(lines) + "\n"


def figure(rows: list[dict[str, float]], path: Path) -> None:
    classes = [row["classes"] for row in rows]
    axes = plt.figure(figsize=(5, 3.5)).subplots()
    drawn = [
        *axes.loglog(classes, [row["gumbel_steps_per_second"] for row in rows], "o-", label="gumbel_softmax"),
        *axes.loglog(classes, [row["exact_steps_per_second"] for row in rows], "s-", label="exact (marginalisation)"),
    ]
    axes.set(xlabel="classes", ylabel="training steps per second")
    axes.set_xticks(classes, [str(count) for count in classes])
    axes.minorticks_off()
    label_lines(axes, drawn, size=9)
    save_figure(path)


def measure_all(output: Path, classes: Sequence[int], batch_size: int, repeats: int) -> None:
    """Measures every number of classes, and writes jang_figure5.json, .md and .png into a folder."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = [step_times(count, batch_size, repeats) for count in classes]
    data = {"batch_size": batch_size, "rows": rows}
    write_report(output, "jang_figure5", data, table(rows), lambda path: figure(rows, path))
