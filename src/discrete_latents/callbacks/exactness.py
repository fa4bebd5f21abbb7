"""How far estimators are from the truth, where the latents are few enough to enumerate."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from discrete_latents.latent import Estimator, Exact, Objective
from discrete_latents.latent.checks import whole
from discrete_latents.models import LatentModel


class DistanceToExact(pl.Callback):
    """At the end of every epoch, on the first `count` validation images, logs for each estimator

        exactness/NAME/bound      its mean bound minus the exact one, nats: 0 for hard samples, the relaxation's
                                  gap for soft ones
        exactness/NAME/bias       ‖E g − g*‖ / ‖g*‖, with g its gradient for the logits and g* the exact one; E is
                                  over `repeats` draws, so an unbiased estimator shows noise / √repeats
        exactness/NAME/noise      √E‖g − E g‖² / ‖g*‖

    A temperature is at the model's global step. Costs `repeats` passes an estimator and epoch. Raises ValueError
    where the model's latents are too many to enumerate.
    """

    def __init__(self, estimators: Mapping[str, Estimator], repeats: int = 100, count: int = 100) -> None:
        self.estimators = dict(estimators)
        self.repeats = whole("repeats", repeats)
        self.count = whole("count", count)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: LatentModel) -> None:
        batch = next(iter(trainer.datamodule.batches("val", self.count)))  # type: ignore[attr-defined]
        with pl_module.evaluation_noise(), torch.enable_grad():
            exact_bound, exact_gradient = estimate(Exact(), pl_module.objective(batch))
            for name, estimator in self.estimators.items():
                estimator.to(pl_module.device)
                if estimator.temperature is not None:
                    estimator.temperature.update(trainer.global_step)
                draws = [estimate(estimator, pl_module.objective(batch)) for _ in range(self.repeats)]
                bounds, gradients = (torch.stack(values) for values in zip(*draws, strict=True))
                mean, scale = gradients.mean(0), exact_gradient.norm()
                noise = (gradients - mean).flatten(1).square().sum(1).mean().sqrt()
                pl_module.log(f"exactness/{name}/bound", bounds.mean() - exact_bound.mean())
                pl_module.log(f"exactness/{name}/bias", (mean - exact_gradient).norm() / scale)
                pl_module.log(f"exactness/{name}/noise", noise / scale)


def estimate(estimator: Estimator, objective: Objective) -> tuple[Tensor, Tensor]:
    """One draw of the bound, (B,), and of its gradient for the logits of the first layer, (B, N, K)."""
    first: list[Tensor] = []

    def traced(sample: Callable[..., Tensor]) -> Tensor:
        return objective(Traced(sample, first))  # type: ignore[arg-type]

    bound = estimator(traced)
    return bound.detach(), torch.autograd.grad(bound.sum(), first[0])[0]


class Traced:
    """A sampler that notes the logits it is given."""

    def __init__(self, sample: Any, seen: list[Tensor]) -> None:
        self.sample = sample
        self.seen = seen

    def __call__(self, logits: Tensor, prior: Tensor | None = None) -> Tensor:
        self.seen.append(logits)
        return self.sample(logits, prior=prior)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sample, name)
