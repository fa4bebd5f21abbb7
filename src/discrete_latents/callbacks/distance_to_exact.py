"""Bias and noise of estimators against exact enumeration."""

from collections.abc import Mapping

import lightning.pytorch as pl
import torch

from discrete_latents.callbacks.epoch_measurement import EpochMeasurement
from discrete_latents.checks import whole
from discrete_latents.latent import Estimator, Exact, NotDefined
from discrete_latents.latent.gradients import draw_gradient, draw_gradients
from discrete_latents.models import LatentModel
from discrete_latents.models.latent_model import Batch


class DistanceToExact(EpochMeasurement):
    """At the end of every epoch, on the first `count` validation images, logs for each estimator

        exactness/NAME/bound      its mean bound minus the exact one, nats: 0 for hard samples, the relaxation's
                                  gap for soft ones
        exactness/NAME/bias       ‖E g − g*‖ / ‖g*‖, with g its gradient for the logits and g* the exact one; E is
                                  over `repeats` draws, so an unbiased estimator shows noise / √repeats
        exactness/NAME/noise      √E‖g − E g‖² / ‖g*‖

    Of a `LatentModel` alone. Temperatures follow its global step; learned parts of the estimators keep their initial
    values. Costs `repeats` passes per estimator and epoch. Raises ValueError if the model has too many latents to
    enumerate, and NotDefined for an estimator with a q of its own.
    """

    def __init__(self, estimators: Mapping[str, Estimator], repeats: int = 100, count: int = 100) -> None:
        super().__init__(count)
        self.estimators = dict(estimators)
        for name, estimator in self.estimators.items():
            if estimator.law is not None:
                raise NotDefined(
                    f"estimators.{name} is not compared with exact: its q is not the softmax of the logits"
                )
        self.repeats = whole("repeats", repeats)

    def measure(self, trainer: pl.Trainer, model: LatentModel, batch: Batch) -> None:
        with model.evaluation_noise(), torch.enable_grad():
            objective = model.objective(batch)
            exact_bound, exact_gradient = draw_gradient(Exact(), objective)
            scale = exact_gradient.norm()
            for name, estimator in self.estimators.items():
                estimator.to(model.device).eval()
                if estimator.temperature is not None:
                    estimator.temperature.update(trainer.global_step)
                draws = draw_gradients(estimator, objective, self.repeats)
                noise = (draws.gradients - draws.mean()).flatten(1).square().sum(1).mean().sqrt()
                model.log(f"exactness/{name}/bound", draws.bounds.mean() - exact_bound.mean())
                model.log(f"exactness/{name}/bias", draws.bias(exact_gradient))
                model.log(f"exactness/{name}/noise", noise / scale)
