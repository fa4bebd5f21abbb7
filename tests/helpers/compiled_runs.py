"""Runs train.py with and without a compiled step in one process, and prints, as JSON, how their weights compare.

Run in a process of its own, since torch.compile does not go through the tests' type checks.
"""

import json
import sys
from pathlib import Path

import torch
from hydra.core.global_hydra import GlobalHydra

from discrete_latents import cli
from discrete_latents.models.compiled_loss import CompiledLoss
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


def compiled(run: str) -> bool:
    return json.loads(RunDirectory(Path(run)).results.read_text())["compiled"]


FACTOR = 1.0


class Scaled(torch.nn.Module):
    """A loss with what training can change: an attribute, a constant of its module, a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0
        self.layer: torch.nn.Module = torch.nn.Identity()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        loss = (self.layer(batch[0] - 2) * self.weight).sum() * self.scale * FACTOR
        return loss, -loss


def losses() -> list[float]:
    """Of a compiled loss, after each change of what it depends on."""
    global FACTOR
    module = Scaled()
    compiled = CompiledLoss(module, [module.weight], backend="aot_eager")

    def loss() -> float:
        return compiled((torch.ones(3), torch.ones(3)))[0].item()

    found = [loss(), loss()]
    module.scale = 2.0
    found.append(loss())
    FACTOR = 5.0
    found.append(loss())
    module.layer = torch.nn.ReLU()
    found.append(loss())
    return found


def main() -> None:
    train(*COMMON, STEPS, "compile=false", "hydra.run.dir=plain")
    train(*COMMON, STEPS, "compile=true", "hydra.run.dir=compiled")
    compile_costs.UNMEASURED["cpu"] = 1
    for name, steps in {"auto": STEPS, "parts": "trainer.max_steps=57"}.items():
        compile_costs.path().unlink(missing_ok=True)  # with what it measured, such a short run is not compiled
        train(*COMMON, steps, "hydra.run.dir=" + name)
    compile_costs.UNMEASURED["cpu"] = 10**9  # a run that is resumed keeps to what it did
    train("resume=parts", STEPS)
    found = {
        "compiled": [run for run in ("plain", "compiled", "auto", "parts") if compiled(run)],
        "from eager": [distance("plain", run) for run in ("compiled", "auto")],
        "same": same("auto", "parts"),
        "changed": not same("plain", "auto"),
        "costs": len(compile_costs.stored()),
        "losses": losses(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
