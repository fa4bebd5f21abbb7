"""What the tests of sweeps and of several processes put into a run, by its name in the configuration."""

import json
import logging
import os
import shutil
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor

from discrete_latents.latent import GumbelSoftmax, layout
from discrete_latents.latent.distributions import gumbel_like

ROOT = Path(__file__).parents[2]
TESTS = {"PYTHONPATH": f"{ROOT}:{ROOT}/src"}
"""The variable by which a run finds this module."""

WITNESS = ["+callbacks.witness._target_=tests.helpers.witness.Witness", "+callbacks.witness.seed=${seed}"]


class SameWeights(pl.Callback):
    """Fails at the end of training where processes have other weights than the first."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        own = torch.cat([weight.detach().double().flatten() for weight in pl_module.state_dict().values()])
        assert torch.equal(own, trainer.strategy.broadcast(own)), "the processes have other weights"


class Witness(pl.Callback):
    """Adds a line to starts.jsonl in the run's folder whenever a process starts training: what it was given."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.weights = 0.0
        self.done = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Before other processes' weights could be copied into these."""
        self.weights = sum(float(p.detach().double().sum()) for p in pl_module.parameters())

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: tuple[Tensor, Tensor], batch_idx: int
    ) -> None:
        if self.done:
            return
        self.done = True
        with torch.random.fork_rng([]):
            noise = float(torch.rand(()))
        start = {
            "rank": trainer.global_rank,
            "step": trainer.global_step,
            "seed": self.seed,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "estimator": type(pl_module.estimator).__name__,
            "weights": self.weights,
            "noise": noise,
            "image": batch[0][0].flatten().tolist(),
            "folder": trainer.default_root_dir,
            "threads": torch.get_num_threads(),
            "denormals": bool((torch.full((64,), 1e-39) * 1.0).any()),
            "quiet": logging.getLogger("lightning.pytorch").level == logging.WARNING
            and any(message and "LeafSpec" in message.pattern for _, message, *_ in warnings.filters),
        }
        with (Path(trainer.default_root_dir) / "starts.jsonl").open("a") as file:
            file.write(json.dumps(start) + "\n")


def starts(folder: Path) -> list[dict]:
    """What the processes of a run were given, by rank, in the order in which they started."""
    lines = [json.loads(line) for line in (folder / "starts.jsonl").read_text().splitlines()]
    return sorted(lines, key=lambda line: line["rank"])


HELD = "+callbacks.held._target_=tests.helpers.witness.Held"


class Held(pl.Callback):
    """Waits after two epochs, in the job whose number is in the file that HOLD names: adds `.held` to the file's name,
    and goes on when it is gone. What a process is sent meanwhile reaches it between two epochs, however busy it is."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        hold = Path(os.environ.get("HOLD", os.devnull))
        if trainer.current_epoch == 2 and hold.is_file() and hold.read_text() == Path(trainer.default_root_dir).name:
            held = hold.rename(f"{hold}.held")
            while held.exists():
                time.sleep(0.005)


class Kept(pl.Callback):
    """Keeps the checkpoint of the second epoch's end, as kept.ckpt in the run's folder."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 2 and trainer.is_global_zero:
            run = Path(trainer.default_root_dir)
            shutil.copy(run / "checkpoints" / "last.ckpt", run / "kept.ckpt")


class FixedNoise(GumbelSoftmax):
    """The same noise for every image, at every step, on every process."""

    def rsample(self, logits: Tensor) -> Tensor:
        with torch.random.fork_rng([]):
            torch.manual_seed(7)
            noise = gumbel_like(logits[:1])
        return layout.softmax((logits + noise) / self.temperature())


class Broken(GumbelSoftmax):
    """With a bug."""

    def rsample(self, logits: Tensor) -> Tensor:
        raise ZeroDivisionError("nothing to\ndivide by")
