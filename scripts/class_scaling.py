"""What marginalising the class costs against one Gumbel sample, by the number of classes (Jang et al. 2017, Figure 5).

    python scripts/class_scaling.py                     # writes results/jang_figure5.json, .md and .png
    python scripts/class_scaling.py --classes 10 100 --repeats 5

One whole training step (forward, backward, Adam) of the semi-supervised model on a batch of unlabelled images, for
`gumbel_softmax` and `exact` in turn, on one thread. The ratio is that of median times; times of single steps are
noisy, so each repeat times both, interleaved.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import torch
from measuring import timed_step, write_report

from discrete_latents.latent import Estimator, Exact, GumbelSoftmax
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import SemiSupervised
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization

PAPER = {10: 2.0, 100: 9.9}
"""Steps per second of Gumbel over marginalisation, as published."""

IMAGE = (1, 28, 28)
CLASSES = [5, 10, 20, 50, 100, 1000]


class Step:
    """One training step of the unlabelled bound, again and again."""

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
        """Seconds taken."""
        return timed_step(lambda: -self.model(self.batch).mean(), self.optimizer)


def measure(num_classes: int, batch_size: int, repeats: int) -> dict[str, float]:
    gumbel = Step(GumbelSoftmax(1.0), num_classes, batch_size)
    exact = Step(Exact(max_configurations=num_classes), num_classes, batch_size)
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
    axes.loglog(classes, [row["gumbel_steps_per_second"] for row in rows], "o-", label="gumbel_softmax")
    axes.loglog(classes, [row["exact_steps_per_second"] for row in rows], "s-", label="exact (marginalisation)")
    axes.set(xlabel="classes", ylabel="training steps per second")
    axes.legend()
    plt.savefig(path, dpi=150, bbox_inches="tight")


def measure_all(output: Path, classes: Sequence[int] = CLASSES, batch_size: int = 100, repeats: int = 15) -> None:
    """Measures, and writes jang_figure5.json, .md and .png into a folder."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = [measure(count, batch_size, repeats) for count in classes]
    data = {"batch_size": batch_size, "rows": rows}
    write_report(output, "jang_figure5", data, table(rows), lambda path: figure(rows, path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    measure_all(arguments.output, arguments.classes, arguments.batch_size, arguments.repeats)


if __name__ == "__main__":
    main()
