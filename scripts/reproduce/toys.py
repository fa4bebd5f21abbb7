"""Toys: objectives whose expectation is known, maximised by every estimator from independent starts at once."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from discrete_latents.latent import Estimator, NotDefined
from scripts.common.estimator import make_estimator, matching_estimators
from scripts.common.report import write_report

COPIES = 100
"""Independent starts. What an estimator learns, they share."""

VARIANCE_DRAWS = 20_000


@dataclass(frozen=True)
class Toy:
    """One objective.

    Args:
        shape: N, K; all start at logits 0.
        value: f of one-hot z, (…, N, K) to (…).
        expected: E f of the probabilities, (…, N, K) to (…).
        best: the largest E f.
        steps: of the published run.
        optimizer: of the logits.
        batch: samples averaged in a step.
    """

    name: str
    shape: tuple[int, int]
    value: Callable[[Tensor], Tensor]
    expected: Callable[[Tensor], Tensor]
    best: float
    steps: int
    optimizer: Callable[..., torch.optim.Optimizer]
    batch: int = 1


def squared_distance(target: float) -> Toy:
    """Yin, Zhou 2019, section 5.1: max E (z − p₀)² over φ of z ~ Bernoulli(σ(φ)), by gradient steps of size 1 of φ.

    φ is the difference of two logits, of which each takes half of its step.
    """
    values = torch.tensor([target**2, (1 - target) ** 2])

    def value(z: Tensor) -> Tensor:
        return (z * values.to(z)).sum((-1, -2))

    best = max(values.tolist())
    return Toy(f"p₀ = {target}", (1, 2), value, value, best, 2000, partial(torch.optim.SGD, lr=0.5))


TOYS = [squared_distance(target) for target in (0.49, 0.499, 0.501, 0.51)]


def bound(toy: Toy, estimator: Estimator, logits: Tensor) -> Tensor:
    return estimator(lambda sample: toy.value(sample(logits)))


def measure(toy: Toy, name: str, steps: int) -> dict[str, Any] | None:
    """The loss best − E f after some steps, and bias and variance of a logit's gradient there; None if not defined."""
    torch.manual_seed(0)
    estimator = make_estimator(name)
    logits = torch.zeros(COPIES, *toy.shape, requires_grad=True)
    optimizer = toy.optimizer([logits])
    try:
        bound(toy, estimator, logits)
    except NotDefined:
        return None
    learned = list(estimator.parameters())
    tuner = torch.optim.Adam(learned, lr=0.01) if learned else None
    start = spread(toy, estimator)
    for _ in range(steps):
        optimizer.zero_grad()
        estimator.zero_grad()
        (-bound(toy, estimator, logits.repeat_interleave(toy.batch, 0)).sum() / toy.batch).backward()
        optimizer.step()
        if tuner is not None:
            tuner.step()
    losses = toy.best - toy.expected(estimator.marginals(logits.detach()).softmax(-1))
    return {
        "toy": toy.name,
        "estimator": name,
        "steps": steps,
        "loss": losses.mean().item(),
        "error": losses.std().item() / COPIES**0.5,
        **start,
    }


def spread(toy: Toy, estimator: Estimator) -> dict[str, float]:
    """Bias of the gradient of the logits over its length, and variance over its square, where all are 0, untrained."""
    estimator.eval()
    logits = torch.zeros(VARIANCE_DRAWS, *toy.shape, dtype=torch.float64, requires_grad=True)
    (drawn,) = torch.autograd.grad(bound(toy, estimator, logits).sum(), logits)
    one = logits[:1]
    (exact,) = torch.autograd.grad(toy.expected(estimator.marginals(one).softmax(-1)).sum(), one)
    estimator.train()
    size = exact.square().sum().item()
    return {
        "bias": (drawn.mean(0) - exact[0]).norm().item() / size**0.5,
        "variance": drawn.var(0).sum().item() / size,
    }


def measure_toys(output: Path, only: str, budget: float) -> None:
    """Measures what toys.json does not have yet, and writes toys.json and toys.md.

    Raises UserError if no estimator matches `only`.
    """
    names = matching_estimators(only)
    path = output / "toys.json"
    earlier = json.loads(path.read_text()) if path.is_file() else []
    rows = {(row["toy"], row["estimator"]): row for row in earlier}
    torch.set_num_threads(1)
    for name in names:
        if make_estimator(name).samples > 1:
            continue  # the bound of several samples is another objective
        for toy in TOYS:
            steps = max(1, round(toy.steps * budget))
            if rows.get((toy.name, name), {}).get("steps") == steps:
                continue
            if (row := measure(toy, name, steps)) is not None:
                rows[toy.name, name] = row
                print(f"{name}, {toy.name}: {row['loss']:.2e}", flush=True)
        output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(rows.values()), indent=2) + "\n")
    write_report(output, "toys", list(rows.values()), table(list(rows.values())))


def table(rows: list[dict[str, Any]]) -> str:
    by_name = {(row["toy"], row["estimator"]): row for row in rows}
    toys = [toy.name for toy in TOYS]
    lines = [f"| | {' | '.join(toys)} |", "|---" * (len(toys) + 1) + "|"]
    for name in sorted({row["estimator"] for row in rows}):
        cells = [cell(by_name.get((toy, name))) for toy in toys]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    steps = ", ".join(map(str, sorted({row["steps"] for row in rows})))
    return "\n".join(
        [
            *lines,
            "",
            f"Loss, best − E f, after {steps} steps: the mean of {COPIES} starts ± its standard error; then, of a "
            "gradient at the start, its bias over its length and its variance over the squared length. Toys of Yin, "
            "Zhou 2019: E (z − p₀)².",
            "",
        ]
    )


def cell(row: dict[str, Any] | None) -> str:
    return "–" if row is None else f"{row['loss']:.1e} ± {row['error']:.0e}; {row['bias']:.2f}; {row['variance']:.3g}"
