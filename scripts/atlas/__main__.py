"""Measure every estimator for one page: bias, variance, cost of a step, memory, and test nll at equal steps and time.

    python -m scripts.atlas --budget 0.1                  # writes results/atlas.json, .md, .png and .pdf
    python -m scripts.atlas                               # the same at all steps
    python -m scripts.atlas --experiment vae_mnist        # on MNIST instead of the digits
    python -m scripts.atlas --only 'rloo|arm' --seeds 0 optimizer.lr=1e-3
    python -m scripts.atlas --report --sort bias          # the page of what is measured, in another order

Trains `experiment=vae_digits` with linear networks both ways, with 20×10 categorical latents and with 200 Bernoulli
latents, by every option of `latent` that is defined for them. Each run is tested twice, with the weights of that step:
after `steps` steps, and after as many as take the time of `steps` steps with gumbel_softmax. The cost of a step is
processor time, measured in turn with that of gumbel_softmax. Memory is the peak that a step allocates. Bias and
variance are those of scripts.gradient_study, on a VAE of 9 or 8 states.

Everything that is measured is a file in the folder of the runs and is not measured again. Any number of calls may share
the work, also at once. A larger budget has more steps, and runs of its own.
"""

from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, positive_number, whole_number
from discrete_latents.errors import UserError, fail
from scripts.atlas.rows import COLUMNS, STEPS


def main() -> None:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="further settings of train.py, for every run")
    add("--experiment", default="vae_digits", help="option of experiment")
    add("--only", metavar="REGEX", default="", help="the options of latent that match")
    add("--budget", type=positive_number, default=1.0, metavar="SHARE", help=f"of {STEPS:,} steps")
    add("--seeds", nargs="+", type=whole_number(0), default=[0, 1, 2], metavar="SEED", help="of the runs")
    add("--images", type=whole_number(), default=1000, help="test images, the first ones")
    add("--samples", type=whole_number(), default=1000, help="m of the test nll")
    add("--sort", choices=COLUMNS, default=COLUMNS[0], metavar="COLUMN", help="order of the rows: %(choices)s")
    add("--report", action="store_true", help="measure nothing")
    add("--runs", type=Path, default=Path("logs/atlas"), help="folder of what is measured")
    add("--output", type=Path, default=Path("results"), help="folder of the report")
    arguments = parser.parse_intermixed_args()
    from scripts.atlas.evidence import measure_all

    try:
        measure_all(arguments)
    except UserError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
