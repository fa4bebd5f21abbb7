"""Estimators trained on one budget, each run in a process of its own."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.utils import get_class

from discrete_latents.config.compose import composed
from discrete_latents.errors import fail
from scripts.common.latent_shapes import SETTINGS
from scripts.common.training_run import completed_run, mean_of_last

Pair = tuple[str, str]
"""A model, "categorical" (20×10) or "bernoulli" (200×2), and an option of `latent`."""

BERNOULLI_RIVALS = ["gumbel_softmax", "st_gumbel", "straight_through", "rloo"]
UNUSABLE = dict.fromkeys(("exact", "sparsemax"), "10^20 configurations")
KEPT = ("eval_samples", "seed", "epochs", "steps", "seconds", "data", "versions")
"""Entries of results.json that the report repeats."""


@dataclass(frozen=True)
class Budget:
    """What all runs share."""

    experiment: str
    epochs: int
    seed: int
    overrides: Sequence[str] = field(default_factory=tuple)

    def overrides_of(self, pair: Pair) -> list[str]:
        """The overrides of train.py for one run."""
        model, latent = pair
        chosen = [f"experiment={self.experiment}", "model/network=linear", f"latent={latent}"]
        settings = ["callbacks=gradient_statistics", f"trainer.max_epochs={self.epochs}", f"seed={self.seed}"]
        return [*chosen, *settings, *SETTINGS[model], *self.overrides]


def pairs(latents: Sequence[str]) -> list[Pair]:
    """The runs for these options of `latent`: estimators for Bernoulli latents on that model alone, rivals on both."""
    only = [latent for latent in latents if get_class(composed([f"latent={latent}"]).latent._target_).bernoulli]
    bernoulli = [latent for latent in latents if latent in (*only, *BERNOULLI_RIVALS)]
    categorical = [latent for latent in latents if latent not in (*only, *UNUSABLE)]
    return [("categorical", latent) for latent in categorical] + [("bernoulli", latent) for latent in bernoulli]


def trained(pair: Pair, budget: Budget, runs: Path) -> dict[str, Any] | None:
    """The results of a run, trained unless it is completed, with its gradient variance; None if it failed."""
    folder = runs / "_".join(pair)
    results = completed_run(budget.overrides_of(pair), folder)
    return results and results | {"gradient_variance": mean_of_last(folder, "gradient/variance", parts=10)}


def compare(arguments: Namespace) -> None:
    """Trains, times the steps and writes the report. Ends with exit code 1 if a run failed."""
    from scripts.compare_estimators.report import write_comparison
    from scripts.compare_estimators.step_times import step_times

    budget = Budget(arguments.experiment, arguments.epochs, arguments.seed, arguments.overrides)
    chosen = pairs(arguments.latents)
    results = {pair: trained(pair, budget, arguments.runs) for pair in chosen}
    completed = {pair: found for pair, found in results.items() if found is not None}
    if completed and not arguments.only_train:
        times = step_times(chosen, budget, arguments.repeats)
        rows = [
            {
                "model": pair[0],
                "latent": pair[1],
                "nll": found["metrics"]["test/nll"],
                "nelbo": found["metrics"]["test/nelbo"],
                "relative_time": times[pair][1],
                "seconds_per_step": times[pair][0],
                "gradient_variance": found["gradient_variance"],
                **{name: found[name] for name in KEPT},
            }
            for pair, found in completed.items()
        ]
        write_comparison(arguments.output, rows)
    if failed := [" ".join(pair) for pair in chosen if pair not in completed]:
        fail(f"failed: {', '.join(failed)}")
