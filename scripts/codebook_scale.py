"""Time and memory of the latent layer of a tokeniser for large codebooks, held against F.gumbel_softmax by hand.

    python -m scripts.codebook_scale                                     # K = 512, 8,192 and 65,536
    python -m scripts.codebook_scale --classes 512 --positions 64 --rounds 1

A step draws a code at each position from logits by distance to the codebook, looks its vector up, and differentiates a
squared error and the KL for the features and the codebook. An evaluation draws codes and looks them up. Each contender
has a process of its own with one thread, which keeps the memory of freed tensors as runs do. They take turns; shown are
the least time and the least peak of memory above that before the first step.
"""

import math
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from discrete_latents.config.command_parser import CommandParser, whole_number

ROOT = Path(__file__).parents[1]
ALONE = """
import sys
from scripts.codebook_scale import measured
print(*measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""
WIDTH = 16
CONTENDERS = ("by hand", "gumbel_softmax", "st_gumbel", "reinmax", "by hand, evaluation", "evaluation")
"""Names of the two losses by hand, and options of `latent`."""


def main() -> None:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add(
        "--classes", nargs="+", type=whole_number(2), default=[512, 8192, 65536], metavar="K", help="sizes of codebooks"
    )
    add("--positions", type=whole_number(), default=512, help="codes of a step: images times cells of a grid")
    add("--rounds", type=whole_number(), default=3, help="turns of each contender")
    add("--output", type=Path, default=Path("results"), help="folder of the report")
    compare(parser.parse_args())


def compare(arguments: Namespace) -> None:
    from scripts.common.report import write_report

    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for classes in arguments.classes:
        for _ in range(arguments.rounds):
            for name in CONTENDERS:
                command = [sys.executable, "-c", ALONE, name, str(classes), str(arguments.positions)]
                shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
                seconds, mib = map(float, shown.split())
                found.setdefault((classes, name), []).append((seconds, mib))
    rows = [
        {"classes": classes, "contender": name, "positions": arguments.positions}
        | {"milliseconds": 1000 * min(seconds for seconds, _ in turns), "mib": min(mib for _, mib in turns)}
        for (classes, name), turns in found.items()
    ]
    write_report(arguments.output, "codebook_scale", rows, table(rows))


def measured(name: str, classes: int, positions: int) -> tuple[float, float]:
    """Seconds of a step, and its peak of memory in MiB."""
    import torch

    from discrete_latents.process import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codebook = torch.randn(classes, WIDTH, requires_grad=True)
    features = torch.randn(positions, WIDTH, requires_grad=True)
    target = torch.randn(positions, WIDTH)
    step = step_of(name, features, codebook, target)
    before, times = peak(), []
    while len(times) < 3 or (sum(times) < 1 and len(times) < 100):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times), peak() - before


def step_of(name: str, features: Any, codebook: Any, target: Any) -> Callable[[], None]:
    """One step of a contender."""
    import torch
    from torch.nn import functional as F

    from discrete_latents.latent import HardSampler
    from scripts.common.estimator import make_estimator

    classes = len(codebook)
    prior = torch.zeros(classes)

    def logits_by_hand() -> Any:
        return features @ codebook.T - codebook.square().sum(-1) / 2

    def logits() -> Any:
        """As in `ImageTokenizer`, with the classes first in memory."""
        return torch.addmm(-codebook.square().sum(-1, keepdim=True) / 2, codebook, features.T).T

    def by_hand() -> None:
        log_q = logits_by_hand().log_softmax(-1)
        vectors = F.gumbel_softmax(log_q, tau=0.5) @ codebook
        kl = (log_q.exp() * (log_q + math.log(classes))).sum()
        ((vectors - target).square().sum() + kl).backward()

    def evaluated_by_hand() -> None:
        with torch.no_grad():
            log_q = logits_by_hand().log_softmax(-1)
            drawn = F.one_hot(torch.distributions.Categorical(logits=log_q).sample(), classes).float()
            _ = drawn @ codebook, (log_q.exp() * (log_q + math.log(classes))).sum()

    def objective(sample: Any) -> Any:
        vectors = sample(logits().unsqueeze(0), prior=prior, codebook=codebook)
        return -(vectors - target).square().sum((-1, -2))

    def evaluated() -> None:
        with torch.no_grad():
            sampler = HardSampler()
            _ = objective(sampler), sampler.kl

    if name == "by hand":
        return by_hand
    if name.endswith("evaluation"):
        return evaluated_by_hand if name.startswith("by hand") else evaluated
    estimator = make_estimator(name, 0.5)
    return lambda: estimator(objective).neg().sum().backward()


def peak() -> float:
    """The largest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(rows: list[dict[str, Any]]) -> str:
    """Each contender beside what is by hand: F.gumbel_softmax, or Categorical and one-hot vectors in evaluation."""
    lines = [
        f"{rows[0]['positions']:,} positions, vectors of {WIDTH} numbers, one thread. In brackets: over that by hand.",
        "",
        "| | K | time, ms | memory, MiB |",
        "|---|---|---|---|",
    ]
    hand = {(row["classes"], row["contender"]): row for row in rows}
    for row in rows:
        base = hand[row["classes"], "by hand, evaluation" if row["contender"].endswith("evaluation") else "by hand"]
        times, memory = (row[name] / max(base[name], 1e-9) for name in ("milliseconds", "mib"))
        shown = f"{row['milliseconds']:.1f} ({times:.2f}) | {row['mib']:.0f} ({memory:.2f})"
        name = (
            row["contender"] if " " in row["contender"] or row["contender"] == "evaluation" else f"`{row['contender']}`"
        )
        lines.append(f"| {name} | {row['classes']:,} | {shown} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
