"""Every estimator on the same model, data and budget: bounds on test images, time of a step, variance of the gradient.

    python scripts/compare_estimators.py                       # writes results/estimators.json, .md and .png
    python scripts/compare_estimators.py --experiment vae_digits --latents rloo disarm --epochs 5 optimizer.lr=3e-3

Trains `experiment=vae_mnist model/network=linear` (784-(20×10)-784) with every option of `latent`, each in a process of
its own, in logs/compare_estimators; a run that is there completed is not repeated. Estimators of Bernoulli latents
alone run with 200 units, and so does what they are compared with. The times are of whole training steps (loss,
backward, optimiser) on one thread, interleaved, as ratios of medians to that of gumbel_softmax; the figure's are those
medians times the steps. The variance is that of the gradient of the logits at the end of training, averaged over its
last tenth.
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import torch
from hydra.utils import get_class
from matplotlib import colormaps
from matplotlib.ticker import ScalarFormatter
from measuring import timed_step, write_report
from omegaconf import DictConfig
from running import mean_of_last, run

from discrete_latents.config.compose import composed
from discrete_latents.models.latent_model import Batch, LatentModel
from discrete_latents.training.build import build_data, build_model

ROOT = Path(__file__).resolve().parent.parent
BERNOULLI = ["model.num_latents=200", "model.num_classes=2"]
BERNOULLI_RIVALS = ["gumbel_softmax", "st_gumbel", "straight_through", "rloo"]
KEPT = ("eval_samples", "seed", "epochs", "steps", "seconds", "data", "versions")
UNUSABLE = {"exact": "10^20 configurations"}


def cells(latents: list[str]) -> list[tuple[str, str]]:
    """What is run: pairs of a model, categorical or bernoulli, and an estimator."""
    only = [latent for latent in latents if get_class(settings(f"latent={latent}").latent._target_).bernoulli]
    bernoulli = [latent for latent in latents if latent in (*only, *BERNOULLI_RIVALS)]
    categorical = [latent for latent in latents if latent not in (*only, *UNUSABLE)]
    return [("categorical", latent) for latent in categorical] + [("bernoulli", latent) for latent in bernoulli]


def settings(*words: str) -> DictConfig:
    return composed([*words, "paths.output_dir=."])


def words(model: str, latent: str, arguments: argparse.Namespace) -> list[str]:
    chosen = [
        f"experiment={arguments.experiment}",
        "model/network=linear",
        f"latent={latent}",
        "callbacks=gradient_statistics",
    ]
    settings = [f"trainer.max_epochs={arguments.epochs}", f"seed={arguments.seed}"]
    return chosen + settings + (BERNOULLI if model == "bernoulli" else []) + arguments.overrides


def train(model: str, latent: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The results of a run, which is made where it is not there yet; None where it failed."""
    folder = arguments.runs / f"{model}_{latent}"
    done = run(words(model, latent, arguments), folder)
    if done is None:
        return None
    return done | {"gradient_variance": mean_of_last(folder, "gradient/variance", parts=10)}


class Step:
    """A training step of a configuration, again and again."""

    def __init__(self, model: LatentModel, batch: Batch) -> None:
        self.model = model
        self.batch = batch
        self.optimizer = model.optimization.optimizer(model.parameters())

    def __call__(self) -> float:
        """Seconds taken."""
        return timed_step(lambda: self.model.training_loss(self.batch)[0], self.optimizer)


def step_times(
    pairs: list[tuple[str, str]], arguments: argparse.Namespace
) -> dict[tuple[str, str], tuple[float, float]]:
    """The time of a step in seconds, and over that of gumbel_softmax on the same model."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    data = build_data(settings(*words(*pairs[0], arguments)))
    batch = next(iter(data.train_dataloader()))
    steps = {
        pair: Step(build_model(settings(*words(*pair, arguments)), data), batch)
        for pair in {*pairs, *((model, "gumbel_softmax") for model, _ in pairs)}
    }
    times: dict[tuple[str, str], list[float]] = {pair: [] for pair in steps}
    for _ in range(arguments.repeats + 3):
        for pair, step in steps.items():
            times[pair].append(step())
    medians = {pair: median(values[3:]) for pair, values in times.items()}  # the first allocate
    return {pair: (medians[pair], medians[pair] / medians[pair[0], "gumbel_softmax"]) for pair in pairs}


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Test nll against the time of training."""
    models = dict.fromkeys(row["model"] for row in rows)
    panels = plt.figure(figsize=(5.5 * len(models), 4)).subplots(1, len(models), squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        ordered = sorted((row for row in rows if row["model"] == model), key=lambda row: row["nll"])
        for i, row in enumerate(ordered):
            minutes = row["seconds_per_step"] * row["steps"] / 60
            axes.plot(
                minutes, row["nll"], "os^DvP"[i % 6], color=colormaps["turbo"](i / len(ordered)), label=row["latent"]
            )
        axes.set(title=model, xlabel="training, minutes on one thread", ylabel="test nll, nats", xscale="log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(ScalarFormatter())
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    plt.tight_layout()
    plt.savefig(path, dpi=150, bbox_inches="tight")


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for model, title in (("categorical", "20×10 categorical"), ("bernoulli", "200 Bernoulli")):
        ordered = sorted((row for row in rows if row["model"] == model), key=lambda row: row["nll"])
        if ordered:
            lines += [
                f"| `latent=`, {title} | nll (m = {ordered[0]['eval_samples']}) | nelbo (m = 1) | time of a step "
                "| gradient variance |",
                "|---|---|---|---|---|",
                *(
                    f"| `{row['latent']}` | {row['nll']:.1f} | {row['nelbo']:.1f} | {row['relative_time']:.1f} "
                    f"| {row['gradient_variance']:.3g} |"
                    for row in ordered
                ),
                "",
            ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in (ROOT / "configs" / "latent").glob("*.yaml"))
    parser.add_argument("--latents", nargs="+", default=names, choices=names)
    parser.add_argument("--experiment", default="vae_mnist")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=50, help="timed steps of each")
    parser.add_argument("--runs", type=Path, default=Path("logs/compare_estimators"))
    parser.add_argument("--output", type=Path, default=Path("results"))
    parser.add_argument("--only-train", action="store_true", help="leave the table to a later call")
    parser.add_argument("overrides", nargs="*", help="further settings of train.py")
    arguments = parser.parse_args()
    pairs = cells(arguments.latents)
    trained = {pair: train(*pair, arguments) for pair in pairs}
    if arguments.only_train:
        return
    times = step_times(pairs, arguments)
    rows = [
        {
            "model": model,
            "latent": latent,
            "nll": results["metrics"]["test/nll"],
            "nelbo": results["metrics"]["test/nelbo"],
            "relative_time": times[model, latent][1],
            "seconds_per_step": times[model, latent][0],
            "gradient_variance": results["gradient_variance"],
            **{name: results[name] for name in KEPT},
        }
        for (model, latent), results in trained.items()
        if results is not None
    ]
    write_report(arguments.output, "estimators", rows, table(rows), lambda path: figure(rows, path))
    failed = [" ".join(pair) for pair, results in trained.items() if results is None]
    if failed:
        sys.exit(f"error: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
