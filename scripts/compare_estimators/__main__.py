"""Compare all estimators on one model, data set and budget: test bounds, step times, gradient variances.

    python -m scripts.compare_estimators                       # writes results/estimators.json, .md and .png
    python -m scripts.compare_estimators --experiment vae_digits --latents rloo disarm --epochs 5 optimizer.lr=3e-3

Trains `experiment=vae_mnist model/network=linear` (784-(20×10)-784) with every option of `latent`. Each run is a
process with its own folder in logs/compare_estimators; completed runs are not repeated. Estimators for Bernoulli
latents run with 200 Bernoulli latents, and so do the ones that they are compared with.

Times are of whole training steps (loss, backward, optimiser) on one thread, interleaved, as ratios of medians to
gumbel_softmax. The variance is that of the gradient for the logits, averaged over the last tenth of training.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, whole_number
from discrete_latents.config.compose import estimator_options


def main() -> None:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    names = estimator_options()
    add("overrides", nargs="*", metavar="key=value", help="further settings of train.py")
    add("--latents", nargs="+", default=names, choices=names, metavar="LATENT", help="options of latent")
    add("--experiment", default="vae_mnist", help="option of experiment")
    add("--epochs", type=whole_number(), default=20, help="of training")
    add("--seed", type=whole_number(0), default=0, help="of training")
    add("--repeats", type=whole_number(), default=50, help="timed steps of each estimator")
    add("--runs", type=Path, default=Path("logs/compare_estimators"), help="folder of the runs")
    add("--output", type=Path, default=Path("results"), help="folder of the report")
    add("--only-train", action="store_true", help="leave the report to a later call")
    arguments = parser.parse_intermixed_args()
    from scripts.compare_estimators.comparison import compare

    compare(arguments)


if __name__ == "__main__":
    main()
