"""What the relaxation is: a categorical, and its Gumbel-Softmax at falling smoothness (cf. Jang et al. 2017, Figure 1).

    python scripts/relaxation_figure.py                  # writes docs/relaxation.png
    python scripts/relaxation_figure.py --output PATH --samples 4 --seed 1

First row: the expectation of a sample, by Monte Carlo. Below it: single samples, a row with the same Gumbel noise
throughout, so that it is one draw that gets softer. At small τ the expectation is the categorical's own and samples are
one-hot; at large τ both become uniform.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from discrete_latents.latent import GumbelSoftmax, STGumbel

PROBABILITIES = [0.05, 0.13, 0.3, 0.05, 0.22, 0.15, 0.1]
TEMPERATURES = [0.1, 0.5, 1.0, 10.0]
DRAWS = 100_000


def columns(samples: int, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """By title, the mean of all draws, (K,), and the first of them, (samples, K)."""
    layers = {"categorical": STGumbel()} | {f"τ = {value:g}": GumbelSoftmax(value) for value in TEMPERATURES}
    logits = torch.tensor(PROBABILITIES).log().expand(DRAWS, 1, -1)
    found = {}
    for title, layer in layers.items():
        torch.manual_seed(seed)
        z = layer(logits).squeeze(1)
        found[title] = z.mean(0), z[:samples]
    return found


def bars(axes: Axes, heights: Tensor, colour: str) -> None:
    axes.bar(range(len(heights)), heights.tolist(), width=0.8, color=colour)
    axes.set(ylim=(0, 1.05), xticks=[], yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, choices=range(1, 10), default=3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("docs/relaxation.png"))
    arguments = parser.parse_args()
    found = columns(arguments.samples, arguments.seed)
    figure = plt.figure(figsize=(9, 1.1 * (1 + arguments.samples)), layout="constrained")
    grid = figure.subplots(1 + arguments.samples, len(found), squeeze=False)
    for column, (title, (expectation, samples)) in enumerate(found.items()):
        grid[0, column].set_title(title)
        for row, heights in enumerate([expectation, *samples]):
            bars(grid[row, column], heights, "tab:blue" if row == 0 else "tab:orange")
    for row, label in enumerate(["expectation", *["sample"] * arguments.samples]):
        grid[row, 0].set_ylabel(label)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=130)
    print(arguments.output)


if __name__ == "__main__":
    main()
