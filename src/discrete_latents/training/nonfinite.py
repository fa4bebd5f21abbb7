"""Stops training that is no longer finite, and reports where it began."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from discrete_latents.errors import NotFinite
from discrete_latents.latent import Estimator, HardSampler
from discrete_latents.models import LatentModel


class LogitSampler(HardSampler):
    """A hard sampler that records max |logit| of each draw."""

    def __init__(self) -> None:
        super().__init__()
        self.largest: list[Tensor] = []

    def draw_recorded(
        self, logits: Tensor, prior: Tensor | None, shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor | float]:
        self.largest.append(logits.abs().max())
        return super().draw_recorded(logits, prior, shape)


class FiniteCheck(pl.Callback):
    """Raises NotFinite before a validation or a checkpoint if a parameter, or a bound since the last logged one, is not
    finite on any process. Synchronises with the device once.
    """

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.check(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.check(trainer, pl_module)

    def check(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        recent: list[Tensor] = getattr(model, "trained_bounds", [])
        bounds = torch.stack(recent) if recent else torch.zeros(1)
        parameters = get_total_norm(list(model.parameters()), float("inf"))
        finite = bool(parameters.isfinite() & bounds.isfinite().all().to(parameters.device))
        if not trainer.strategy.reduce_boolean_decision(finite):
            raise NotFinite(trainer.global_step)


def divergence_report(model: pl.LightningModule, stopped: NotFinite) -> str:
    """One line: the step at which training stopped being finite, and the norms and rates that may explain it."""
    ours = isinstance(model, LatentModel)
    values, end, batch = [float(bound) for bound in model.trained_bounds] if ours else [], stopped.step, stopped.batch
    a_step = model.trainer.accumulate_grad_batches  # bounds of one optimiser step
    bad = [index for index, value in enumerate(values) if not -float("inf") < value < float("inf")]
    said = f"after step {end - 1} training is not finite"
    if bad:
        said = f"the bound of step {end - 1 - (len(values) - 1 - bad[0]) // a_step} is {values[bad[0]]}"
        before = "step" if a_step == 1 else "batch"
        said += f", of the {before} before {values[bad[0] - 1]:.4g} nats" if bad[0] else ""
    where = nonfinite_modules(model.named_parameters())
    statistics = {"learning rate": model.trainer.optimizers[0].param_groups[0]["lr"]}
    if ours and model.estimator.temperature is not None:
        statistics["temperature"] = model.estimator.temperature().item()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if gradients:
        statistics["gradient norm"] = get_total_norm(gradients).item()
    if where:
        where = f"parameters: {where}"
    else:
        statistics["largest parameter"] = get_total_norm(list(model.parameters()), float("inf")).item()
        if ours and batch is not None and model.trainer.world_size == 1:
            outputs, statistics["largest logit"] = first_nonfinite_output(model, batch)
            where = f"output: {outputs}" if outputs else ""
    measured = ", ".join(f"{name} {value:.4g}" for name, value in statistics.items())
    return (
        f"{said}; not finite: {where or 'nothing now'}; {measured}. Its checkpoints are older. Resumed or repeated, "
        "trainer.log_every_n_steps=1 stops at the first such step, trainer.detect_anomaly=true at the operation"
    )


def nonfinite_modules(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The modules of tensors that are not finite, and how many of each module's: "decoder (2 of 4)"."""
    counts: dict[str, list[bool]] = {}
    for name, tensor in tensors:
        counts.setdefault(name.split(".")[0], []).append(not bool(tensor.isfinite().all()))
    return ", ".join(f"{name} ({sum(bad)} of {len(bad)})" for name, bad in counts.items() if any(bad))


def first_nonfinite_output(model: LatentModel, batch: Any) -> tuple[str, float]:
    """The first part of a model whose output on a batch is not finite, "" for none, and the largest |logit|."""
    first: list[str] = []

    def look(name: str, output: Tensor) -> None:
        if not bool(output.isfinite().all()):
            first.append(name)

    def hook(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: look(name, output)

    networks = [(name, child) for name, child in model.named_children() if not isinstance(child, Estimator)]
    handles = [child.register_forward_hook(hook(name)) for name, child in networks]
    sampler = LogitSampler()
    batch = tuple(part.to(model.device) for part in batch)
    with model.evaluation_noise(), model.trainer.precision_plugin.forward_context():
        try:
            look("likelihood", model.objective(batch)(sampler))
            look(f"estimator ({type(model.estimator).__name__})", model(batch))
        except (ValueError, RuntimeError):  # logits that nothing can be drawn from
            first.append("sampler")
        finally:
            for handle in handles:
                handle.remove()
    return (first or [""])[0], torch.stack(sampler.largest).max().item() if sampler.largest else 0.0
