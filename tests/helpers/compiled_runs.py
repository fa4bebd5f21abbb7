"""Runs train.py with and without a compiled step in one process, and prints, as JSON, how their weights compare.

Run in a process of its own, since torch.compile does not go through the tests' type checks.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from hydra.core.global_hydra import GlobalHydra

from discrete_latents import cli
from discrete_latents.lightning_internals import UNCHANGED
from discrete_latents.models.compiled_loss import CompiledLoss, Graph
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training import compile_costs

COMMON = [
    *("model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]", "lr_schedule.hold=1.0"),
    *("eval_samples=20", "trainer.max_epochs=-1", "+trainer.enable_progress_bar=false"),
]
STEPS = "trainer.max_steps=100"


def train(*words: str) -> None:
    sys.argv = ["train.py", *words]
    GlobalHydra.instance().clear()
    try:
        cli.train_main()
    except SystemExit as stop:
        if stop.code:
            raise


def weights(run: str) -> dict[str, torch.Tensor]:
    return torch.load(RunDirectory(Path(run)).last, weights_only=True)["state_dict"]


def same(first: str, second: str) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def distance(first: str, second: str) -> float:
    """The largest relative difference of a parameter, in its norm."""
    one, other = weights(first), weights(second)
    return max(float((one[name] - other[name]).norm() / one[name].norm().clamp(min=1e-3)) for name in one)


@contextmanager
def replays(counts: dict[str, int], run: str) -> Iterator[None]:
    """Counts the steps in which the compiled graph is called without the compiler."""
    counts[run], called = 0, Graph.replayed

    def counted(self: Graph, batch: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        counts[run] += 1
        return called(self, batch)

    Graph.replayed = counted
    try:
        yield
    finally:
        Graph.replayed = called


def compiled(run: str) -> bool:
    return json.loads(RunDirectory(Path(run)).results.read_text())["compiled"]


class Scaled(torch.nn.Module):
    """A loss that depends on an attribute and on a buffer, which each call may replace."""

    mean: torch.Tensor

    def __init__(self, replaces: bool) -> None:
        super().__init__()
        self.replaces = replaces
        self.scale = 1.0
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        loss = ((batch[0] + self.mean) * self.weight).sum() * self.scale
        if self.replaces:
            self.mean = self.mean + 1
        else:
            self.mean.add_(1)
        return loss, -loss


def losses(replaces: bool) -> list[float]:
    """Of a compiled loss in steps between which nothing changes but the batch, and, before the fifth, the scale."""
    module = Scaled(replaces)
    compiled = CompiledLoss(module, [module.weight], backend="aot_eager")
    found = []
    for step in range(6):
        if step == 4:
            module.scale = 2.0
        before = UNCHANGED.set(step != 4)
        loss, bound = compiled((torch.full((3,), float(step)), torch.ones(3)))
        assert loss == -bound
        ((_, gradient),) = loss.grad_fn.known_gradients()
        assert gradient == loss  # of weight 1
        found.append(loss.item())
        UNCHANGED.reset(before)
    return found


def main() -> None:
    train(*COMMON, STEPS, "compile=false", "hydra.run.dir=plain")
    replayed: dict[str, int] = {}
    with replays(replayed, "compiled"):
        train(*COMMON, STEPS, "compile=true", "hydra.run.dir=compiled")
    with replays(replayed, "lightning"):
        train(*COMMON, STEPS, "compile=true", "steps_per_loop=1", "hydra.run.dir=lightning")
    compile_costs.UNMEASURED["cpu"] = 1
    for name, steps in {"auto": STEPS, "parts": "trainer.max_steps=57"}.items():
        compile_costs.path().unlink(missing_ok=True)  # with what it measured, such a short run is not compiled
        with replays(replayed, name):
            train(*COMMON, steps, "hydra.run.dir=" + name)
    compile_costs.UNMEASURED["cpu"] = 10**9  # a run that is resumed keeps to what it did
    train("resume=parts", STEPS)
    found = {
        "compiled": [run for run in ("plain", "compiled", "auto", "parts") if compiled(run)],
        "from eager": [distance("plain", run) for run in ("compiled", "auto")],
        "same": [same("auto", "parts"), same("compiled", "lightning")],
        "changed": not same("plain", "auto"),
        "costs": len(compile_costs.stored()),
        "replayed": [replayed[run] for run in ("compiled", "lightning", "parts")],
        "losses": [losses(False), losses(True)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
