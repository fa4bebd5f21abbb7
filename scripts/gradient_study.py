"""What the estimators do: their gradients against the exact one, on a VAE small enough to enumerate.

    python scripts/gradient_study.py                     # writes results/gradient_study.json, .md and .png
    python scripts/gradient_study.py --classes 2         # Bernoulli latents: disarm too
    python scripts/gradient_study.py --config-dir DIR    # and the estimators of DIR/latent/*.yaml (PYTHONPATH=…)
    python scripts/gradient_study.py --run RUN_DIR       # of a trained run, instead of training one
    python scripts/gradient_study.py --repeats 500 --epochs 0 3 --temperatures 0.5 1 --output /tmp/study

The VAE on digits is trained with `exact`. At each of the given epochs, every estimator is measured on the same
validation images: `repeats` draws g of the gradient of an image's bound for its logits, and g*, by enumeration.

    bias      ‖E g − g*‖ / ‖g*‖ over all images. Noise alone makes it about `floor`, √(variance / repeats): an unbiased
              estimator is one whose bias is its floor
    sd        √variance = √(E‖g − E g‖²), over ‖g*‖ as well: bias² + sd² is the relative mean squared error of a draw
    snr       ‖E g‖ / sd, without the share of the noise in the mean; none for a gradient without noise
    cosine    between a draw and g*, and between the mean of all draws and g*, the mean over images

At the last model, those with a temperature are measured over a grid of it as well.

Estimators with parts that learn (baselines, critics, the τ and η of rebar and relax) are first given `tuning` steps of
Adam for these alone, on training images and the frozen model: untrained, their numbers mean nothing. An estimator of
several samples, such as vimco, has a bound of its own, and is held against the exact gradient of that. nvil divides its
gradient, which is unbiased in direction and too short.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from hydra.errors import HydraException
from matplotlib import colormaps
from matplotlib.axes import Axes
from measuring import write_report
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from discrete_latents.api import load_run
from discrete_latents.checks import positive, whole
from discrete_latents.config.compose import CONFIGS, composed
from discrete_latents.config.composition_errors import composition_error
from discrete_latents.config.instantiate import make
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError, fail, first_line
from discrete_latents.latent import Estimator, Objective
from discrete_latents.latent.gradients import Draws, draw_gradients, exact_gradient
from discrete_latents.models import LatentModel
from discrete_latents.training.build import build_data, build_model

COPIES = 50
"""Of each image in a batch, so many draws at once."""

NO_NOISE = 1e4
"""A signal-to-noise ratio above which there is rounding alone."""

COLUMNS = {
    "temperature": "τ",
    "bias": "bias",
    "floor": "floor",
    "sd": "sd",
    "snr": "snr",
    "cosine": "cosine of a draw",
    "cosine_of_mean": "of the mean",
}

Row = dict[str, Any]


def compose_latents(folder: Path | None) -> dict[str, DictConfig]:
    """A run's configuration with each estimator that there is, by name. Raises UserError for a folder without any."""
    folders = [CONFIGS] if folder is None else [CONFIGS, folder]
    if not any((folders[-1] / "latent").glob("*.yaml")):
        raise UserError(f"--config-dir = {folder} has no latent/*.yaml")
    names = sorted({path.stem for place in folders for path in (place / "latent").glob("*.yaml")})
    words = ["~experiment", "temperature=constant", f"hydra.searchpath=['file://{folders[-1].absolute()}']"]
    return {name: composed([*words, f"latent={name}"]) for name in names}


def make_estimator(config: DictConfig, temperature: float, held: bool = False) -> Estimator:
    """An estimator at a constant temperature; where its YAML sets or learns its own, only if that is to be `held`."""
    config = config.copy()
    config.temperature.start = temperature
    if held:
        config.latent.temperature = temperature
    return make(config, "latent")


def train(config: DictConfig, arguments: argparse.Namespace) -> Iterator[tuple[str, LatentModel, ImageData]]:
    """A new model, trained on the exact bound, at each of the epochs."""
    config = config.copy()
    config.seed = arguments.seed
    config.model.update(num_latents=arguments.latents, num_classes=arguments.classes, hidden=arguments.hidden)
    data = build_data(config)
    model = build_model(config, data)
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


def load(arguments: argparse.Namespace) -> Iterator[tuple[str, LatentModel, ImageData]]:
    """The best model of a run directory, and its data."""
    run = load_run(arguments.run)
    yield arguments.run.name, run.model, build_data(run.config)


class Subject:
    """A frozen model and the images on which estimators are measured.

    Raises UserError where its exact gradient cannot be had.
    """

    def __init__(self, label: str, model: LatentModel, data: ImageData, arguments: argparse.Namespace) -> None:
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
        """The exact gradient of the bound of so many samples, (B, N, K), image by image, since it takes memory."""
        limit = 4096 if samples == 1 else 2**20
        return torch.cat([exact_gradient(self.objective(x), samples, limit) for x in self.images.split(1)])

    def target(self, samples: int) -> Tensor | None:
        """What the draws of an estimator should average to; None where too much would have to be enumerated."""
        if samples not in self.exact:
            try:
                self.exact[samples] = self.enumerate(samples)
            except ValueError:
                return None
        return self.exact[samples]

    def tune(self, estimator: Estimator) -> None:
        """Trains what an estimator learns, on training images; an estimator without such parts is left alone."""
        batches = cycle(self.data.train_dataloader())
        with torch.no_grad():
            estimator(self.objective(next(batches)[0]))  # where its parts take their shapes
        if not estimator.state_dict().keys() - {"temperature.value"}:
            return
        own = list(estimator.parameters())
        optimizer = torch.optim.Adam(own, lr=1e-2) if own else None
        for _ in range(self.arguments.tuning):
            bound = estimator(self.objective(next(batches)[0])).mean()  # averages move as they are run
            if optimizer:
                optimizer.zero_grad()
                (-bound).backward(inputs=own)
                optimizer.step()

    def measure(self, name: str, estimator: Estimator) -> Row:
        """What an estimator's gradient is like. Its noise does not depend on what else is studied."""
        torch.manual_seed(self.arguments.seed)
        try:
            self.tune(estimator)
            repeats = -(-self.arguments.repeats // COPIES)
            objective = self.objective(self.images.repeat(COPIES, 1, 1, 1))
            draws = draw_gradients(estimator.eval(), objective, repeats)
        except ValueError as error:
            raise UserError(f"latent = {name}: {first_line(error)}") from error
        bounds, gradients = (part.unflatten(1, (COPIES, -1)).flatten(0, 1) for part in (draws.bounds, draws.gradients))
        draws, exact = Draws(bounds, gradients), self.target(estimator.samples)
        snr = draws.signal_to_noise().item()
        floor = draws.floor(draws.mean() if exact is None else exact).item()
        mean = Draws(bounds, draws.mean().unsqueeze(0))
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


def study(arguments: argparse.Namespace) -> dict[str, Any]:
    """All that is measured: `training`, a row an estimator and model, `temperatures`, a row an estimator and τ at the
    last model, and `skipped`, with reasons."""
    latents = compose_latents(arguments.config_dir)
    torch.manual_seed(arguments.seed)
    results: dict[str, Any] = {"training": [], "temperatures": [], "skipped": {}}
    subject, tempered = None, []
    for label, model, data in load(arguments) if arguments.run else train(latents["exact"], arguments):
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


def table(results: dict[str, Any]) -> str:
    """The first and the last model, a row an estimator."""
    models = [row["model"] for row in results["training"]]
    lines = []
    for model in dict.fromkeys([models[0], models[-1]]):
        lines += [f"**{model}**", "", f"| estimator | {' | '.join(COLUMNS.values())} |", "|---" * 8 + "|"]
        for row in results["training"]:
            if row["model"] == model:
                bound = f" ({row['samples']}-sample bound)" if row["samples"] > 1 else ""
                lines.append(f"| `{row['estimator']}`{bound} | {' | '.join(shown(row[key]) for key in COLUMNS)} |")
        lines.append("")
    return "\n".join([*lines, *(f"`{name}` is left out: {reason}." for name, reason in results["skipped"].items()), ""])


def shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 0}f}"


def figure(results: dict[str, Any], path: Path) -> None:
    """Bias and variance over τ, and signal-to-noise over training, whose last values order the legend."""
    noisy = [row for row in results["training"] if row["snr"] is not None]
    last = [row for row in noisy if row["model"] == noisy[-1]["model"]]
    names = [row["estimator"] for row in sorted(last, key=lambda row: -row["snr"])]
    colours = colormaps["tab20"].resampled(20)

    def draw(axes: Axes, rows: list[Row], x: str, y: str, title: str) -> None:
        for index, name in enumerate(names):
            points = [(row[x], row[y], row["unbiased"]) for row in rows if row["estimator"] == name and row[y]]
            xs, ys, unbiased = zip(*points, strict=True) if points else ([], [], [False])
            style = "os^Dv"[index % 5] + ("--" if unbiased[0] else "-")
            axes.plot(xs, ys, style, color=colours(index % 20), markersize=5, label=name)
        axes.set(title=title, yscale="log")
        axes.grid(alpha=0.3)

    drawing = plt.figure(figsize=(14, 5), layout="constrained")
    bias, variance, snr = drawing.subplots(1, 3)
    biased = [row for row in results["temperatures"] if not row["unbiased"]]
    draw(bias, biased, "temperature", "bias", "bias, ‖E g − g*‖ / ‖g*‖")
    draw(variance, results["temperatures"], "temperature", "variance", "variance, E‖g − E g‖² / ‖g*‖²")
    draw(snr, noisy, "model", "snr", "signal-to-noise over training, ‖E g‖ / sd")
    snr.set_xticks(snr.get_xticks(), [label.get_text().removeprefix("epoch ") for label in snr.get_xticklabels()])
    snr.set(xlabel="epochs of training with exact")
    for axes in (bias, variance):
        ticks = sorted({row["temperature"] for row in results["temperatures"]})
        axes.set(xlabel="temperature τ", xscale="log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    handles, labels = snr.get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside right center", title="dashed: unbiased")
    drawing.savefig(path, dpi=130)


def number(least: int | None = None) -> Callable[[str], float]:
    """What reads a whole number of at least `least`, or any positive one, from the command line."""

    def read(text: str) -> float:
        try:
            return positive("it", float(text)) if least is None else whole("it", int(text), least)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--latents", type=number(1), default=2)
    add("--classes", type=number(2), default=4)
    add("--hidden", type=number(1), nargs="*", default=[32])
    add("--epochs", type=number(0), nargs="+", default=[0, 1, 3, 10, 30, 100], help="when to measure")
    add("--run", type=Path, help="a run directory to study, instead of a new model")
    add("--temperature", type=number(), default=0.5, help="τ over training, where the YAML leaves it open")
    add("--temperatures", type=number(), nargs="+", default=[0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0])
    add("--repeats", type=number(1), default=5000, help=f"draws of each gradient, rounded up to {COPIES}s")
    add("--images", type=number(1), default=20)
    add("--tuning", type=number(1), default=200, help="training steps for what estimators learn")
    add("--seed", type=number(0), default=0)
    add("--config-dir", type=Path, help="a folder with latent/*.yaml of your own")
    add("--output", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        results = study(arguments)
        seconds = round(time.perf_counter() - started, 1)
        results = {"settings": settings, "seconds": seconds} | results
        write_report(arguments.output, "gradient_study", results, table(results), lambda path: figure(results, path))
    except (UserError, OSError) as error:
        fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        fail(composition_error(f"{error}\n{error.__cause__ or ''}", []))


if __name__ == "__main__":
    main()
