"""Ideas of our own for straight-through rules, against exact gradients by enumeration.

    python -m scripts.straight_through_ideas    # seconds; writes results/straight_through_ideas.json and .md

Every rule here is a matrix S(z) for each class z of a latent, by which a gradient v of z becomes S(z)ᵀ v. Its bias and
its variance are sums over all states: nothing is sampled. The problems are a tanh network with a cube on N latents of K
classes, with logits of several scales; a row of the table is the median over them.

`flow` is MVE's least variance without its linear system: all rules that are exact for quadratics are flows on the
classes, and it mixes those of ZGR and of a star around the likeliest class, with the weights of least E‖S‖². The
learned control variate is ZGR (ReinMax at τ = 1) minus η times (ZGR − star), which has the mean 0 for quadratics, with
the η of least variance for the very gradient, found in hindsight. λ is straight-through plus a share of what ZGR adds
to it, free of any temperature.
"""

import math
import statistics
from itertools import product
from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, whole_number

SHAPES = [(4, 2), (3, 4), (2, 8), (1, 16)]
SCALES = [0.5, 1.0, 2.0, 4.0]
IMAGES = [1, 10, 100]
"""Over how many images of a batch a gradient is averaged: the variance falls, the bias stays."""


def main() -> None:
    parser = CommandParser(__doc__)
    parser.add_argument("--seeds", type=whole_number(), default=8, help="problems of each shape and scale")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder of the files")
    arguments = parser.parse_args()

    from scripts.common.report import write_report
    from scripts.straight_through_ideas.grid import measure

    measured: dict[str, dict[str, list[float]]] = {}
    for shape, scale, seed in product(SHAPES, SCALES, range(arguments.seeds)):
        for name, (bias, variance) in measure(*shape, scale, seed).items():
            row = measured.setdefault(name, {"bias": [], "variance": []})
            row["bias"].append(bias)
            row["variance"].append(variance)
    write_report(arguments.output, "straight_through_ideas", measured, table(measured))


def table(measured: dict[str, dict[str, list[float]]]) -> str:
    reference = measured["zgr = reinmax"]["variance"]
    errors = [f"error, {images}" for images in IMAGES]
    lines = [f"| rule | bias | variance, of zgr's | {' | '.join(errors)} |", "|---" * (3 + len(IMAGES)) + "|"]
    for name, row in measured.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(row["variance"], reference, strict=True))
        total = [
            statistics.median(math.sqrt(b**2 + v / images) for b, v in zip(row["bias"], row["variance"], strict=True))
            for images in IMAGES
        ]
        cells = " | ".join(f"{value:.3f}" for value in total)
        lines.append(f"| {name} | {statistics.median(row['bias']):.3f} | {ratio:.2f} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
