"""Draw a categorical and its Gumbel-Softmax relaxations at rising temperatures (cf. Jang et al. 2017, Figure 1).

    python -m scripts.relaxation_figure                  # writes docs/relaxation.png and .pdf
    python -m scripts.relaxation_figure --output PATH --samples 4 --seed 1

First row: the expectation of a sample, by Monte Carlo. Other rows: single samples, each row with the same Gumbel noise
at every temperature. At small τ the expectation is that of the categorical and samples are one-hot; at large τ both are
uniform.
"""

from pathlib import Path
from typing import Any

from discrete_latents.config.command_parser import CommandParser, whole_number

PROBABILITIES = [0.05, 0.13, 0.3, 0.05, 0.22, 0.15, 0.1]
TEMPERATURES = [0.1, 0.5, 1.0, 10.0]
DRAWS = 100_000


def draws_by_title(samples: int, seed: int) -> dict[str, tuple[list[float], list[list[float]]]]:
    """By title, the mean of all draws, (K,), and the first `samples` draws, (samples, K)."""
    import torch

    from discrete_latents.latent import GumbelSoftmax, STGumbel

    layers = {"categorical": STGumbel()} | {f"τ = {value:g}": GumbelSoftmax(value) for value in TEMPERATURES}
    logits = torch.tensor(PROBABILITIES).log().expand(DRAWS, 1, -1)
    found = {}
    for title, layer in layers.items():
        torch.manual_seed(seed)
        z = layer(logits).squeeze(1)
        found[title] = z.mean(0).tolist(), z[:samples].tolist()
    return found


def bars(axes: Any, heights: list[float], colour: str) -> None:
    axes.bar(range(len(heights)), heights, width=0.8, color=colour)
    axes.set(ylim=(0, 1.05), xticks=[], yticks=[])
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    parser = CommandParser(__doc__)
    parser.add_argument("--samples", type=int, choices=range(1, 10), default=3, help="rows of samples")
    parser.add_argument("--seed", type=whole_number(0), default=3, help="of the Gumbel noise")
    parser.add_argument("--output", type=Path, default=Path("docs/relaxation.png"), help="the file to write")
    arguments = parser.parse_args()
    import matplotlib.pyplot as plt

    from scripts.common.report import save_figure

    found = draws_by_title(arguments.samples, arguments.seed)
    figure = plt.figure(figsize=(9, 1.1 * (1 + arguments.samples)), layout="constrained")
    grid = figure.subplots(1 + arguments.samples, len(found), squeeze=False)
    for column, (title, (expectation, samples)) in enumerate(found.items()):
        grid[0, column].set_title(title)
        for row, heights in enumerate([expectation, *samples]):
            bars(grid[row, column], heights, "tab:blue" if row == 0 else "tab:orange")
    for row, label in enumerate(["expectation", *["sample"] * arguments.samples]):
        grid[row, 0].set_ylabel(label)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_figure(arguments.output, figure)
    print(arguments.output)


if __name__ == "__main__":
    main()
