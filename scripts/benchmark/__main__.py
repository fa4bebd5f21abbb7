"""How fast training, evaluation and a start are, against what people write by hand, on real MNIST, one thread each.

    python scripts/benchmark.py                          # all; writes results/benchmark.json, .md and .png
    python scripts/benchmark.py --only steps --cases 512-256 --contenders plain ours
    python scripts/benchmark.py --device cuda            # on a GPU; writes results/benchmark_cuda.json, .md and .png

`--only` measures some sections, or cases, and leaves the report's others as they are, if they are of this machine:

    steps        the time of a step of each contender over that of the plain loop, fresh and after `--steps` steps,
                 and the most memory that its process had
    batches      images a second against batch size, from a fresh start
    denormals    the time of a step after `--late` steps over that after 50
    evaluation   the m = 1000 bound of `--eval-images` test images, against a loop that decodes sample by sample
    bound        `experiment=vae_mnist` until the nll (m = 1000) of 1,000 validation images is at most `--nats`
    startup      train.py to the end of its first step, against importing torch, lightning and hydra
    estimators   the time of a step of every estimator over that of gumbel_softmax

On a GPU: steps, batches, evaluation and bound.

Contenders:

    plain             a hand-written eager loop on tensors in memory: default Adam, F.gumbel_softmax
    ours              `train.py` as users run it: callbacks, bar, CSV and checkpoints
    compiled          the same with compile=true
    compiled_bf16     and trainer.precision=bf16-mixed
    template          Lightning as templates have it: torchvision's ToTensor, a DataLoader, MeanMetrics (no M2)
    products          the matrix products of a step alone, as torch multiplies
    onednn_products   the same as oneDNN multiplies, which is what ours takes on a CPU

Validations and checkpoints come once in 500 steps, so the medians over blocks of 50 steps are those of training alone.
"""

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import benchmark_sections as sections
import torch
from benchmark_cases import CASES, TRAINERS
from benchmark_race import CONTENDERS
from benchmark_report import WRITERS, figure, tables
from measuring import write_report

ON_GPU = ("steps", "batches", "evaluation", "bound")


def measured(section: str, arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """What a section of the report holds, item by item."""
    blocks, data, folder = arguments.blocks, arguments.data.absolute(), arguments.runs.absolute()
    cases = {name: replace(case, device=arguments.device) for name, case in CASES.items()}
    match section:
        case "steps":
            for name in arguments.cases:
                own = contenders(name, arguments.contenders, arguments.device)
                yield name, sections.steps(cases[name], own, arguments.steps, blocks, data, folder / name)
        case "batches":
            for size in arguments.batch_sizes:
                where = folder / f"batch_{size}"
                yield str(size), sections.batch_size(cases["512-256"], size, max(2, blocks // 4), data, where)
        case "denormals":
            for name in ("plain", "ours"):
                yield name, sections.ageing(name, arguments.late, blocks, data, folder / "ageing")
        case "evaluation":
            words = [f"--data={data}", f"--steps={arguments.steps}", f"--images={arguments.eval_images}"]
            words += [f"--samples={arguments.eval_samples}", f"--device={arguments.device}"]
            yield from sections.told("benchmark_evaluation.py", words, folder).items()
        case "bound":
            words = [f"trainer={TRAINERS[arguments.device]}"]
            yield from sections.time_to_bound(arguments.nats, arguments.val_images, words, data, folder).items()
        case "startup":
            yield from sections.startup(arguments.starts, data, folder).items()
        case "estimators":
            words = [f"--data={data}", f"--repeats={arguments.repeats}", "--latents", *arguments.latents]
            yield from sections.told("benchmark_estimators.py", words, folder).items()


def contenders(case: str, names: list[str], device: str) -> list[str]:
    """Those that there are for a case, and on this machine."""
    absent = {"template"} if CASES[case].model == "semi_supervised" else set()
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        absent.add("onednn_products")
    return [name for name in names if name not in absent]


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "cpu": cpu,  # a virtual one may go by its maker's name alone
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        **({"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if device == "cuda" else {}),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=TRAINERS, default="cpu")
    parser.add_argument("--only", nargs="+", default=[], choices=WRITERS, metavar="SECTION")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps before the steady state is timed")
    parser.add_argument("--blocks", type=int, default=20, help=f"timed blocks of {sections.BLOCK} steps")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[100, 300, 1000, 3000, 10_000])
    parser.add_argument("--late", type=int, default=5000)
    parser.add_argument("--eval-images", type=int, default=2000)
    parser.add_argument("--eval-samples", type=int, default=1000, help="m of evaluation")
    parser.add_argument("--nats", type=float, default=101.5)
    parser.add_argument("--val-images", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--latents", nargs="*", default=[], help="estimators; all where none is named")
    parser.add_argument("--repeats", type=int, default=50, help="timed steps of each estimator")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DISCRETE_LATENTS_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("logs/benchmark"))
    parser.add_argument("--output", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if arguments.contenders[0] != "plain":
        parser.error("--contenders must start with plain, which the others are compared with")
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU")
    of_device = [name for name in WRITERS if device == "cpu" or name in ON_GPU]
    if unknown := [name for name in arguments.only if name not in of_device]:
        parser.error(f"--device {device} measures {', '.join(of_device)}, not {', '.join(unknown)}")
    report = "benchmark" if device == "cpu" else f"benchmark_{device}"
    path = arguments.output / f"{report}.json"
    results: dict[str, Any] = json.loads(path.read_text()) if arguments.only and path.is_file() else {}
    here = machine(device)
    if results.get("machine") != here:
        results = {"machine": here}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: stopped by SIGTERM"))
    try:
        for section in arguments.only or of_device:
            print(f"measuring {section}", flush=True)
            own = results.setdefault(section, {})
            for name, value in measured(section, arguments):
                own[name] = value
    finally:  # what was measured before one failed is kept
        results = {name: section for name, section in results.items() if section}
        draw = figure if {"steps", "batches"} & results.keys() else None
        write_report(arguments.output, report, results, tables(results), draw and (lambda at: figure(results, at)))


if __name__ == "__main__":
    main()
