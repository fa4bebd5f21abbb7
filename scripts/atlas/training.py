"""A training run that is tested at some of its steps, in this process."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from discrete_latents.config.compose import composed
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError
from discrete_latents.latent import HardBound, Temperature
from discrete_latents.models import LatentModel
from discrete_latents.training.build import build_data, build_model

SHARED = ["model/network=linear", "temperature=constant", "temperature.start=0.5", "lr_schedule=constant"]
"""A constant rate and temperature: a run's first steps are those of a shorter run."""


@dataclass(frozen=True)
class Problem:
    """What is trained: the settings of train.py but for the estimator and the seed."""

    overrides: tuple[str, ...]

    def config(self, latent: str, seed: int = 0) -> DictConfig:
        experiment, *others = self.overrides
        return composed([experiment, f"latent={latent}", *SHARED, *others, f"seed={seed}", "paths.output_dir=."])

    def built(self, latent: str, seed: int = 0) -> tuple[LatentModel, ImageData]:
        """A new model and its data. Raises UserError for a model or data of another kind."""
        config = self.config(latent, seed)
        torch.manual_seed(seed)
        data = build_data(config)
        model = build_model(config, data)
        if not isinstance(model, LatentModel) or not isinstance(data, ImageData):
            raise UserError(f"{self.overrides[0]} has no images and estimator, which the atlas is about")
        return model, data


Tested = dict[str, float | None]


def trained(
    problem: Problem, latent: str, seed: int, marks: Collection[int], samples: int, images: int
) -> dict[int, Tested]:
    """Trains up to the last of the marks. Returns the test results at each."""
    model, data = problem.built(latent, seed)
    optimizer = model.configure_optimizers()
    temperatures = [part for part in model.modules() if isinstance(part, Temperature)]
    batches, step, epoch = data.train_dataloader(), 0, 0
    found: dict[int, Tested] = {}
    model.train()
    while step < max(marks):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            for temperature in temperatures:
                temperature.update(step)
            loss, _ = model.training_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step in marks:
                found[step] = tested(model, data, samples, images)
            if step == max(marks):
                break
        epoch += 1
    return found


@torch.no_grad()
def tested(model: LatentModel, data: ImageData, samples: int, images: int) -> Tested:
    """nll of m samples and nelbo of one, nats, on the first test images; None for what is not finite. Draws nothing
    from the noise of training."""
    model.eval()
    evaluator = HardBound(samples, law=model.estimator.law)
    nll, nelbo, left = [], [], images
    for index, (x, labels) in enumerate(data.batches("test", 100)):
        batch = x[:left], labels[:left]
        left -= len(batch[0])
        nll.append(model.nll(batch, index, evaluator))
        with model.evaluation_noise(index):
            sampler = model.hard_sampler()
            reconstruction = model.objective(batch)(sampler)
            nelbo.append(sampler.kl - reconstruction)
        if left == 0:
            break
    model.train()
    return {"nll": finite_mean(nll), "nelbo": finite_mean(nelbo)}


def finite_mean(values: Sequence[torch.Tensor]) -> float | None:
    mean = torch.cat(list(values)).mean().item()
    return mean if math.isfinite(mean) else None
