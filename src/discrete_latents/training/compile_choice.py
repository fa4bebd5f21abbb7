"""Whether the steps of a run are compiled."""

import importlib.util
import logging
import os
import shutil
from statistics import median
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only

from discrete_latents.callbacks.throughput import now
from discrete_latents.errors import first_line
from discrete_latents.lightning_internals import steady
from discrete_latents.models import LatentModel
from discrete_latents.runs.train_log import note
from discrete_latents.training import compile_costs
from discrete_latents.training.compile_costs import UNMEASURED, Costs

log = logging.getLogger(__name__)

COMPILERS = ("g++", "clang++", "c++", "cl")

AS_IT_IS = 20
"""The steps that a run with compile = auto begins with as they are, to know what the compiled ones save."""

COMPILED = 30
"""The compiled steps that are timed."""


class CompileChoice(pl.Callback):
    """Compiles the training step of a `LatentModel`, as `compile` in the configuration says.

    setting: true, false, or "auto": true from step `AS_IT_IS` on where the steps that are left save more than the
    compilation takes on this device, as an earlier run has measured it or, where none has, by `UNMEASURED`. What is
    chosen is said in one line. A resumed run does as it did before, so that it goes on with the same numbers; a model
    that the compiler refuses trains as it is.
    """

    def __init__(self, setting: bool | str) -> None:
        self.setting = setting
        self.compiled = False
        self.chosen = False
        self.fitted = False
        self.watched = False
        self.begun = False

    @property
    def demanded(self) -> bool:
        """Whether the step is compiled because the user said so, and the compiler's errors are the user's to know."""
        return self.compiled and self.setting is True

    def state_dict(self) -> dict[str, Any]:
        return {"compiled": self.compiled, "chosen": self.chosen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self.fitted:  # else of the best checkpoint, for the test
            self.compiled, self.chosen = state_dict["compiled"], state_dict["chosen"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.fitted = True
        if not isinstance(pl_module, LatentModel) or self.setting is False:
            self.compiled = False
        elif self.setting is True:
            self.compiled = not pl_module.estimator.differentiates
            if self.compiled:
                pl_module.compile_step()
            else:
                rank_zero_only(log.warning)("not compiled: %s", differentiates(pl_module))
        else:
            self.choose(trainer, pl_module)
        self.chosen = True

    def choose(self, trainer: pl.Trainer, model: LatentModel) -> None:
        self.of = compile_costs.cost_key(
            model,
            model.device,
            trainer.precision,
            getattr(trainer.datamodule, "batch_size", None),  # type: ignore[attr-defined]
        )
        costs = compile_costs.read(self.of)
        left, kind = trainer.estimated_stepping_batches - trainer.global_step, model.device.type
        if self.chosen:
            wanted, why = self.compiled, f"as this run {'was' if self.compiled else 'was not'} before"
        elif left == float("inf"):
            wanted, why = False, "training has no end in steps"
        else:
            wanted = left >= (costs.pay_from() if costs else UNMEASURED.get(kind, float("inf")))
            why = why_by_costs(left, costs, kind)
        obstacle = self.obstacle(trainer, model) if wanted else None
        self.compiled = wanted and obstacle is None
        tell: Any = log.info if wanted else note  # that a short run is not compiled, nobody asks
        rank_zero_only(tell)(f"compile = auto: {'' if self.compiled else 'not '}compiled, {obstacle or why}")
        self.watched = self.compiled
        self.last: float | None = None
        self.before: list[float] = []
        self.after: list[float] = []

    def obstacle(self, trainer: pl.Trainer, model: LatentModel) -> str | None:
        """Why a step cannot be compiled here, or is not by itself; None where it can."""
        if model.estimator.differentiates:
            return differentiates(model)
        if not isinstance(trainer.strategy, SingleDeviceStrategy):
            return "several processes: compile=true compiles in each"
        return no_compiler(model.device)

    @steady
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if not self.watched:
            return
        assert isinstance(pl_module, LatentModel)
        time = now(pl_module.device)
        if self.last is not None:
            (self.after if self.begun else self.before).append(time - self.last)
        self.last = time
        if not self.begun and trainer.global_step >= AS_IT_IS:
            self.begun = True
            pl_module.compile_step(lambda error: self.refuse(pl_module, error))
        elif len(self.after) > COMPILED:
            self.watched = False
            first, *later = self.after
            if len(self.before) >= AS_IT_IS // 2:
                before, after = median(self.before[AS_IT_IS // 4 :]), median(later)
                rank_zero_only(compile_costs.write)(self.of, Costs(max(first - after, 0.0), before, after))

    def refuse(self, model: LatentModel, error: Exception) -> None:
        self.compiled = self.watched = False
        kind = f"{type(model).__name__} with {type(model.estimator).__name__}"
        rank_zero_only(log.warning)(
            "compile = auto: not compiled, %s cannot be compiled here: %s", kind, first_line(error)
        )


def differentiates(model: LatentModel) -> str:
    return f"{type(model.estimator).__name__} differentiates within a step"


def no_compiler(device: torch.device) -> str | None:
    """Why nothing can be compiled for a device; None where a compiler is there."""
    given = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([given] if given else COMPILERS)):
        return f"there is no C++ compiler ({given or ', '.join(COMPILERS)})"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None


def why_by_costs(left: float, costs: Costs | None, device: str) -> str:
    """Why a step is compiled or not, by what it costs and saves."""
    if costs is None:
        least = UNMEASURED.get(device)
        return f"{left:,.0f} steps; it pays from about {least:,} on" if least else f"not by itself on {device}"
    saved = 1e3 * (costs.before - costs.after)
    return f"{left:,.0f} steps, of which each saves {saved:.2f} ms; compiling takes {costs.compiling:.0f} s (measured)"
