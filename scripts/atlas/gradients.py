"""Bias and variance of an estimator's gradient, on a model that was trained by enumeration."""

from argparse import Namespace
from functools import cache
from typing import Any

from omegaconf import DictConfig

from scripts.gradient_study.study import Subject, compose_latents, make_estimator, models_in_training

SIZES = {"categorical": (2, 3), "bernoulli": (3, 2)}
"""Latents and classes: so few states that also the bound of five samples is enumerated."""

EPOCHS = 30
TEMPERATURE = 0.5
KEPT = ("bias", "floor", "sd", "samples", "unbiased")


@cache
def options() -> dict[str, DictConfig]:
    return compose_latents(None)


@cache
def subject(shape: str, draws: int) -> Subject:
    latents, classes = SIZES[shape]
    settings = Namespace(latents=latents, classes=classes, hidden=[32], epochs=[EPOCHS], images=20, seed=0)
    settings.repeats, settings.tuning = draws, 200
    (model,) = models_in_training(options()["exact"], settings)
    return Subject(*model, settings)


def gradient(shape: str, latent: str, draws: int) -> dict[str, Any]:
    """What `Subject.measure` says of one estimator."""
    estimator = make_estimator(options()[latent], TEMPERATURE)
    measured = subject(shape, draws).measure(latent, estimator)
    return {name: measured[name] for name in KEPT} | {"relaxed": estimator.relaxed}
