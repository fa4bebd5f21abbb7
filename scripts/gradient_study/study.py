"""Gradients of estimators against the exact gradient, on a VAE small enough to enumerate."""

from argparse import Namespace
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from omegaconf import DictConfig
from torch import Tensor

from discrete_latents.api import load_run
from discrete_latents.config.compose import CONFIGS, configurations
from discrete_latents.config.instantiate import make
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError, first_line
from discrete_latents.latent import Estimator, Objective
from discrete_latents.latent.gradients import Draws, draw_gradients, exact_gradient
from discrete_latents.models import LatentModel
from discrete_latents.training.build import build_data, build_model
from scripts.gradient_study import COPIES

NO_NOISE = 1e4
"""Above this signal-to-noise ratio the noise is rounding."""

Measured = dict[str, Any]
"""An estimator's gradient at one model: a row of the report."""


def compose_latents(folder: Path | None) -> dict[str, DictConfig]:
    """A configuration with each estimator of `latent`, by name. Raises UserError for a folder that has none."""
    folders = [CONFIGS] if folder is None else [CONFIGS, folder]
    if not any((folders[-1] / "latent").glob("*.yaml")):
        raise UserError(f"--config-dir = {folder} has no latent/*.yaml")
    names = sorted({path.stem for place in folders for path in (place / "latent").glob("*.yaml")})
    overrides = ["~experiment", "temperature=constant", f"hydra.searchpath=['file://{folders[-1].absolute()}']"]
    with configurations():
        found = {name: compose("train", [*overrides, f"latent={name}"]) for name in names}
    ours = "discrete_latents.quantizers."  # which have no gradient of a distribution
    return {name: config for name, config in found.items() if not str(config.latent._target_).startswith(ours)}


def make_estimator(config: DictConfig, temperature: float, held: bool = False) -> Estimator:
    """An estimator at a constant temperature. One whose YAML sets or learns its own is overruled only if `held`."""
    config = config.copy()
    config.temperature.start = temperature
    if held:
        config.latent.temperature = temperature
    return make(config, "latent")


def models_in_training(config: DictConfig, arguments: Namespace) -> Iterator[tuple[str, LatentModel, ImageData]]:
    """Trains a new model on the exact bound. Yields its label, the model and its data at each of the epochs."""
    config = config.copy()
    config.seed = arguments.seed
    config.model.update(num_latents=arguments.latents, num_classes=arguments.classes)
    config.model.network.hidden = arguments.hidden
    data = build_data(config)
    model = build_model(config, data)
    assert isinstance(model, LatentModel)
    assert isinstance(data, ImageData)
    optimizer = model.optimization.optimizer(model.parameters())
    batches, done = data.train_dataloader(), 0
    for epochs in sorted(set(arguments.epochs)):
        model.train()
        for epoch in range(done, epochs):
            batches.sampler.set_epoch(epoch)
            for batch in batches:
                loss, _ = model.training_loss(batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        done = epochs
        yield f"epoch {epochs}", model, data


def model_of_run(arguments: Namespace) -> Iterator[tuple[str, LatentModel, ImageData]]:
    """Yields the best model of a run directory, and its data."""
    run = load_run(arguments.run)
    data = build_data(run.config)
    assert isinstance(data, ImageData)
    yield arguments.run.name, run.model, data


class Subject:
    """A frozen model, and the images on which estimators are measured.

    Raises UserError if its exact gradient cannot be enumerated.
    """

    def __init__(self, label: str, model: LatentModel, data: ImageData, arguments: Namespace) -> None:
        self.label = label
        self.model = model.eval()
        self.data = data
        self.arguments = arguments
        self.images = next(iter(data.batches("val", arguments.images)))[0]
        try:
            self.exact = {1: self.enumerate(1)}
        except ValueError as error:
            raise UserError(f"{type(model).__name__}: {first_line(error)}") from error
        if not self.exact[1].equal(self.enumerate(1)):
            raise UserError(f"{type(model).__name__} has noise besides its classes, which cannot be enumerated")

    def objective(self, images: Tensor) -> Objective:
        return self.model.objective((images, torch.zeros(len(images), dtype=torch.int64)))

    def enumerate(self, samples: int) -> Tensor:
        """The exact gradient of the bound of so many samples, (B, N, K); image by image, to save memory."""
        limit = 4096 if samples == 1 else 2**20
        return torch.cat([exact_gradient(self.objective(x), samples, limit) for x in self.images.split(1)])

    def target(self, samples: int) -> Tensor | None:
        """The exact gradient that draws are compared with; None if there are too many states to enumerate."""
        if samples not in self.exact:
            try:
                self.exact[samples] = self.enumerate(samples)
            except ValueError:
                return None
        return self.exact[samples]

    def tune(self, estimator: Estimator) -> None:
        """Trains the learned parts of an estimator, if it has any, on training images and the frozen model."""
        batches = cycle(self.data.train_dataloader())
        with torch.no_grad():
            estimator(self.objective(next(batches)[0]))  # its parts take their shapes
        if not estimator.state_dict().keys() - {"temperature.value"}:
            return
        own = list(estimator.parameters())
        optimizer = torch.optim.Adam(own, lr=1e-2) if own else None
        for _ in range(self.arguments.tuning):
            bound = estimator(self.objective(next(batches)[0])).mean()  # this moves running averages
            if optimizer:
                optimizer.zero_grad()
                (-bound).backward(inputs=own)
                optimizer.step()

    def measure(self, name: str, estimator: Estimator) -> Measured:
        """Bias, noise and direction of an estimator's gradient. The draws do not depend on the other estimators."""
        torch.manual_seed(self.arguments.seed)
        try:
            self.tune(estimator)
            repeats = -(-self.arguments.repeats // COPIES)
            objective = self.objective(self.images.repeat(COPIES, 1, 1, 1))
            draws = draw_gradients(estimator.eval(), objective, repeats)
        except ValueError as error:
            raise UserError(f"latent = {name}: {first_line(error)}") from error
        bounds, gradients = (part.unflatten(1, (COPIES, -1)).flatten(0, 1) for part in (draws.bounds, draws.gradients))
        draws = Draws(bounds, gradients)
        # That of a law of its own is no other's: it sums over all of its states.
        exact = self.target(estimator.samples) if estimator.law is None else draws.mean()
        snr = draws.signal_to_noise().item()
        floor = draws.floor(draws.mean() if exact is None else exact).item()
        mean = Draws(bounds[:1], draws.mean().unsqueeze(0))
        return {
            "estimator": name,
            "model": self.label,
            "unbiased": estimator.unbiased,
            "samples": estimator.samples,
            "bias": None if exact is None else draws.bias(exact).item(),
            "floor": floor,
            "variance": floor**2 * len(gradients),
            "sd": floor * len(gradients) ** 0.5,
            "snr": snr if snr < NO_NOISE else None,
            "cosine": None if exact is None else draws.cosine(exact).item(),
            "cosine_of_mean": None if exact is None else mean.cosine(exact).item(),
        }


def study(arguments: Namespace) -> dict[str, Any]:
    """Measures every estimator.

    Returns `training`: a row per estimator and model; `temperatures`: a row per estimator and τ, at the last model;
    `skipped`: the estimators left out, with reasons.
    """
    latents = compose_latents(arguments.config_dir)
    torch.manual_seed(arguments.seed)
    results: dict[str, Any] = {"training": [], "temperatures": [], "skipped": {}}
    subject, tempered = None, []
    models = model_of_run(arguments) if arguments.run else models_in_training(latents["exact"], arguments)
    for label, model, data in models:
        subject = Subject(label, model, data, arguments)
        tempered.clear()
        for name, config in latents.items():
            estimator = make_estimator(config, arguments.temperature)
            if estimator.bernoulli and model.num_classes != 2:
                results["skipped"][name] = "for Bernoulli latents alone, --classes 2"
                continue
            row = subject.measure(name, estimator) | {"temperature": None}
            if "temperature" in config.latent and estimator.temperature is not None:
                row["temperature"] = estimator.temperature().item()
                tempered.append(name)
            results["training"].append(row)
        print(f"measured: {label}", flush=True)
    assert subject is not None
    for name in tempered:
        for temperature in arguments.temperatures:
            row = subject.measure(name, make_estimator(latents[name], temperature, held=True))
            results["temperatures"].append(row | {"temperature": temperature})
    return results
