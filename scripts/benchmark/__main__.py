"""Benchmark training, evaluation and start-up against code written by hand, on MNIST, by one thread or `--threads`.

    python -m scripts.benchmark                          # all; writes results/benchmark.json, .md and .png
    python -m scripts.benchmark --only steps --cases 512-256 --contenders plain ours
    python -m scripts.benchmark --device cuda            # on a GPU; writes results/benchmark_cuda.json, .md and .png

`--only` measures some sections, or cases, and keeps the others of an earlier report of the same machine:

    steps        median step times, contenders interleaved, relative to the plain loop: fresh and after `--steps` steps;
                 peak memory
    batches      images per second against batch size, fresh
    denormals    the time of a step after `--late` steps, relative to one after 50
    evaluation   the m = 1000 bound of `--eval-images` test images, relative to a loop that decodes sample by sample
    bound        `experiment=vae_mnist` until the nll (m = 1000) of 1,000 validation images is at most `--nats`, and a
                 loop by hand
    whole        `experiment=vae_mnist` from the shell to its end, `--epochs` with validation, checkpoints and pictures
                 and a test, and a loop by hand with the same evaluation
    startup      train.py to the end of its first step, relative to importing torch, lightning and hydra
    estimators   the time of a step of every estimator, relative to gumbel_softmax
    stacked      images per second of `--stacks` runs at once by launcher=stacked, in `--stack-steps` steps each
    profile      a step by its parts, without Lightning: see `--profile`

The steps are also kept by processor, with those of other machines, and written side by side.

On a GPU: steps, batches, evaluation, bound, whole and stacked.

Contenders:

    plain             an eager loop by hand on tensors in memory: default Adam, F.gumbel_softmax
    plain_fused       the same with Adam(fused=True)
    ours              `train.py` with compile=false: callbacks, progress bar, CSV and checkpoints
    compiled          the same with compile=true, as compile=auto, the default, trains long runs
    compiled_bf16     the same with compile=true and trainer.precision=bf16-mixed
    template          Lightning as templates have it: torchvision's ToTensor, a DataLoader, MeanMetrics (no M2)
    products          the matrix products of a step alone, by torch
    onednn_products   the same by oneDNN, as ours multiplies on a CPU

Medians are over blocks of 50 steps. Validations and checkpoints come every 500 steps, so they do not enter the medians.
"""

import os
import signal
import sys
from argparse import Namespace
from pathlib import Path

from discrete_latents.config.command_parser import CommandParser, positive_number, whole_number
from discrete_latents.config.compose import estimator_options
from discrete_latents.errors import UserError, fail
from scripts.benchmark.cases import CASES, TRAINERS
from scripts.benchmark.race import BLOCK, CONTENDERS
from scripts.benchmark.report import WRITERS

ON_GPU = ("steps", "batches", "evaluation", "bound", "whole", "stacked")


def command_line() -> Namespace:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add("--device", choices=TRAINERS, default="cpu", help="where contenders run")
    add("--only", nargs="+", default=[], choices=WRITERS, metavar="SECTION", help="sections, instead of all")
    add("--profile", action="store_true", help="where the time of a step goes, and nothing else")
    add("--cases", nargs="+", default=list(CASES), choices=CASES, metavar="CASE", help="models of the steps")
    add(
        "--contenders",
        nargs="+",
        default=list(CONTENDERS),
        choices=CONTENDERS,
        metavar="NAME",
        help="of the steps, plain first",
    )
    add("--steps", type=whole_number(0), default=1000, help="optimiser steps before the steady state is timed")
    add("--blocks", type=whole_number(2), default=20, help=f"timed blocks of {BLOCK} steps")
    sizes = [100, 300, 1000, 3000, 10_000]
    add("--batch-sizes", type=whole_number(), nargs="+", default=sizes, metavar="SIZE", help="of section batches")
    add("--late", type=whole_number(BLOCK), default=5000, help="steps of section denormals")
    add("--eval-images", type=whole_number(2), default=2000, help="test images of section evaluation")
    add("--eval-samples", type=whole_number(), default=1000, help="m of sections evaluation and whole")
    add("--nats", type=positive_number, default=101.5, help="nll at which section bound ends")
    add("--val-images", type=whole_number(), default=1000, help="validation images of section bound")
    add("--epochs", type=whole_number(), default=100, help="of section whole")
    add("--threads", type=whole_number(), default=1, help="of each process; the report keeps those of 1")
    add("--starts", type=whole_number(), default=5, help="repetitions of section startup")
    latents = estimator_options()
    add("--latents", nargs="+", default=latents, choices=latents, metavar="LATENT", help="of section estimators")
    add("--repeats", type=whole_number(), default=50, help="timed steps of each estimator")
    add("--stacks", type=whole_number(), nargs="+", default=[1, 4, 16], metavar="SIZE", help="of section stacked")
    add("--stack-steps", type=whole_number(2), default=500, help="optimiser steps of section stacked")
    data = Path(os.environ.get("DISCRETE_LATENTS_DATA", "data"))
    add("--data", type=Path, default=data, help="folder that holds MNIST/raw")
    add("--runs", type=Path, default=Path("logs/benchmark"), help="folder of runs and logs")
    add("--output", type=Path, default=Path("results"), help="folder of the report")
    arguments = parser.parse_args()
    if arguments.profile:
        arguments.only = ["profile"]
    if arguments.contenders[0] != "plain":
        parser.error("--contenders must start with plain, the reference of the others")
    measurable = list(WRITERS) if arguments.device == "cpu" else ON_GPU
    if unknown := [name for name in arguments.only if name not in measurable]:
        parser.error(f"--device {arguments.device} measures {', '.join(measurable)}, not {', '.join(unknown)}")
    arguments.sections = arguments.only or measurable
    return arguments


def main() -> None:
    arguments = command_line()
    from scripts.benchmark.session import run_benchmark

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: stopped by SIGTERM"))
    try:
        run_benchmark(arguments)
    except UserError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
