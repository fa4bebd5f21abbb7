"""Variance and signal-to-noise ratio of the gradient that a run trains with."""

import copy

import lightning.pytorch as pl
import torch

from discrete_latents.callbacks.epoch_measurement import EpochMeasurement
from discrete_latents.checks import whole
from discrete_latents.latent.gradients import draw_gradients
from discrete_latents.models import LatentModel
from discrete_latents.models.latent_model import Batch


class GradientStatistics(EpochMeasurement):
    """At the end of every epoch, on the first `count` validation images, logs for the run's own estimator

        gradient/variance    E‖g − E g‖² with g the gradient of an image's bound for its first layer's logits, the mean
                             over images, over `repeats` draws
        gradient/snr         √(‖E g‖² / E‖g − E g‖²), without the share of the noise in the mean of `repeats` draws;
                             infinite for `exact`

    Costs `repeats` passes over `count` images per epoch, repeats · count / (training images) of the training time:
    4 % on MNIST with the defaults. Does not change training, bit for bit.
    Of a `LatentModel` alone.
    """

    def __init__(self, repeats: int = 20, count: int = 100) -> None:
        super().__init__(count)
        self.repeats = whole("repeats", repeats, least=2)

    def measure(self, trainer: pl.Trainer, model: LatentModel, batch: Batch) -> None:
        estimator = copy.deepcopy(model.estimator).eval()  # so that its own state does not change
        with model.evaluation_noise(), torch.enable_grad():
            draws = draw_gradients(estimator, model.objective(batch), self.repeats)
        model.log("gradient/variance", draws.variance(), sync_dist=True)
        model.log("gradient/snr", draws.signal_to_noise(), sync_dist=True)
