"""How fast a training step, an evaluation and a start are, against what people write by hand.

    python scripts/benchmark.py                         # writes results/benchmark.json and .md; needs MNIST
    python scripts/benchmark.py --networks 200 --steps 200 --blocks 6

Contenders, one process of one thread each, on the same VAE (20×10 latents, batch 100, float32) and real MNIST:

    plain      a hand-written eager loop on tensors in memory: default Adam, F.gumbel_softmax
    ours       `train.py` as users run it: callbacks, bar, CSV and checkpoints
    compiled   the same with compile=true (and in bf16 with --bf16)
    template   Lightning as templates have it: torchvision's ToTensor, a DataLoader, three MeanMetrics
    products   the matrix products alone

They are all started, take `--steps` optimiser steps, and are then stopped and released in turn, block by block, so that
what slows the machine slows all of them; a figure is the median over blocks of the time over that of the plain loop in
the same round, with quartiles. Fresh: the same of the first blocks, before those steps.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmark_contenders import BLOCK
from measuring import write_report

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"linear": [], "200": [200], "512-256": [512, 256]}
CONTENDERS = ("plain", "ours", "compiled", "template", "products")


class Contender:
    """A process that runs a block of steps whenever it is told to."""

    def __init__(self, name: str, hidden: list[int], arguments: argparse.Namespace, folder: Path) -> None:
        self.name = name
        told, self.tell = os.pipe()
        self.told, tell = os.pipe()
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "BENCHMARK_PIPES": f"{told} {tell}",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]),
        }
        self.log = (folder / f"{name}.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, *command(name, hidden, arguments, folder / name)],
            pass_fds=(told, tell),
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        os.close(told)
        os.close(tell)
        self.times = os.fdopen(self.told)

    def wait(self) -> None:
        """Until it stands before its first step."""
        if self.times.readline() != "ready\n":
            raise SystemExit(f"error: {self.name} stopped: see {self.log.name}")

    def block(self) -> float:
        """Seconds for a step, the mean over one block."""
        os.write(self.tell, b"go\n")
        line = self.times.readline()
        if not line:
            raise SystemExit(f"error: {self.name} stopped: see {self.log.name}")
        return float(line) / BLOCK

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def command(name: str, hidden: list[int], arguments: argparse.Namespace, folder: Path) -> list[str]:
    if name not in ("ours", "compiled"):
        return [str(ROOT / "scripts" / "benchmark_contenders.py"), name, str(arguments.data), *map(str, hidden)]
    words = ["experiment=vae_mnist", f"model.hidden={hidden}", "model.decoder_hidden=null", "trainer.max_epochs=1000"]
    words += [f"paths.data_dir={arguments.data}", f"hydra.run.dir={folder}_{time.time_ns()}", "optimizer.hold=1.0"]
    words += [
        "+callbacks.gate._target_=benchmark_contenders.Gate",
        f"compile={'true' if name == 'compiled' else 'false'}",
    ]
    if name == "compiled" and arguments.bf16:
        words.append("trainer.precision=bf16-mixed")
    return [str(ROOT / "train.py"), *words]


def race(hidden: list[int], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Ratios of the time of a step to that of the plain loop, fresh and after `--steps` steps."""
    folder.mkdir(parents=True, exist_ok=True)
    contenders = [Contender(name, hidden, arguments, folder) for name in arguments.contenders]
    rounds: dict[str, list[list[float]]] = {"fresh": [], "steady": []}
    try:
        for contender in contenders:
            contender.wait()
            contender.block()  # what is allocated or compiled at first
        between = max(0, arguments.steps // BLOCK - arguments.blocks)
        for phase, skipped in (("fresh", 0), ("steady", between)):
            for contender in contenders:
                for _ in range(skipped):
                    contender.block()
            rounds[phase] = [[contender.block() for contender in contenders] for _ in range(arguments.blocks)]
    finally:
        for contender in contenders:
            contender.stop()
    return {
        phase: {
            name: summary([times[index] for times in rounds[phase]], [times[0] for times in rounds[phase]])
            for index, name in enumerate(arguments.contenders)
        }
        for phase in rounds
    }


def summary(times: list[float], plain: list[float]) -> dict[str, float]:
    ratios = [own / reference for own, reference in zip(times, plain, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {"milliseconds": 1e3 * median(times), "ratio": median(ratios), "low": low, "high": high}


def startup(arguments: argparse.Namespace, folder: Path, repeats: int = 3) -> dict[str, float]:
    """Seconds that importing torch, lightning and hydra takes, and those of train.py to its first step, in turn."""
    imports, first = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, lightning, hydra"], check=True)
        imports.append(time.perf_counter() - started)
        started = time.perf_counter()
        contender = Contender("ours", [512, 256], arguments, folder)
        contender.wait()
        first.append(time.perf_counter() - started)
        contender.stop()
    return {"imports": median(imports), "first_step": median(first), "ratio": median(first) / median(imports)}


def table(results: dict[str, Any]) -> str:
    lines = ["| network | " + " | ".join(results["contenders"]) + " |", "|---" * (1 + len(results["contenders"])) + "|"]
    for network, phases in results["steps"].items():
        for phase, row in phases.items():
            cells = [f"{cell['ratio']:.2f} ({cell['low']:.2f}–{cell['high']:.2f})" for cell in row.values()]
            cells[0] = f"1 ({row['plain']['milliseconds']:.2f} ms)"
            lines.append(f"| {network}, {phase} | {' | '.join(cells)} |")
    start = results["startup"]
    lines += ["", f"Start: {start['first_step']:.1f} s to the first step, {start['ratio']:.2f} × the imports alone."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--steps", type=int, default=1000, help="optimiser steps before the steady state is timed")
    parser.add_argument("--blocks", type=int, default=20, help=f"timed blocks of {BLOCK} steps")
    parser.add_argument("--bf16", action="store_true", help="compile in bf16, where the CPU multiplies it")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DISCRETE_LATENTS_DATA", "data")).absolute())
    parser.add_argument("--runs", type=Path, default=Path("logs/benchmark"))
    parser.add_argument("--output", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if arguments.contenders[0] != "plain":
        parser.error("--contenders must start with plain, which the others are compared with")
    steps = {name: race(NETWORKS[name], arguments, arguments.runs / name) for name in arguments.networks}
    results = {"contenders": arguments.contenders, "steps": steps, "startup": startup(arguments, arguments.runs)}
    write_report(arguments.output, "benchmark", results, table(results))


if __name__ == "__main__":
    main()
