"""What the atlas is made of: each measurement a file, made once, by whichever process comes first."""

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.compose import estimator_options
from discrete_latents.errors import NotApplicable, UserError, first_line
from discrete_latents.latent import NotDefined
from scripts.atlas.cost import cost
from scripts.atlas.gradients import gradient
from scripts.atlas.report import report
from scripts.atlas.rows import DRAWS, STEPS, Row
from scripts.atlas.training import Problem, trained
from scripts.common.estimator import matching_estimators
from scripts.common.latent_shapes import SETTINGS
from scripts.reproduce.table import folder_name


class Evidence:
    """The measurements of one shape of latents.

    Args:
        settings: the command's arguments.
        measures: whether what is missing is measured. waits: whether also what another process is at.
    """

    def __init__(self, shape: str, settings: Namespace, measures: bool = False, waits: bool = False) -> None:
        self.shape = shape
        self.settings = settings
        self.measures = measures
        self.waits = waits
        self.problem = Problem((f"experiment={settings.experiment}", *SETTINGS[shape], *settings.overrides))
        self.folder: Path = settings.runs / folder_name((f"experiment={settings.experiment}", *settings.overrides))
        self.steps = max(1, round(STEPS * settings.budget))
        self.draws = max(100, round(DRAWS * settings.budget))

    def once(self, latent: str, name: str, measure: Callable[[], Any]) -> Any:
        """What a file holds, measured if it is not there and `measures`.

        {"undefined": reason} where the estimator is not defined. None where nothing is to be measured, or another
        process is at it and this one does not wait.
        """
        path = self.folder / self.shape / latent / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text())
        if not self.measures:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), FileLock(path.with_suffix(".lock"), timeout=-1 if self.waits else 0):
            if not path.is_file():
                try:
                    found = measure()
                except (NotDefined, NotApplicable) as error:
                    found = {"undefined": first_line(error)}
                atomic_write(path, json.dumps(found) + "\n")
                print(f"{self.shape} {latent} {name}: {json.dumps(found)}", flush=True)
        return json.loads(path.read_text()) if path.is_file() else None

    def cost(self, latent: str) -> Any:
        return self.once(latent, "cost", lambda: cost(self.problem, latent))

    def gradient(self, latent: str) -> Any:
        return self.once(latent, f"gradient_{self.draws}", lambda: gradient(self.shape, latent, self.draws))

    def run(self, latent: str, seed: int) -> Any:
        """The test results after as many steps as all take, and after those that take as long as the reference's."""
        spent = self.cost(latent)
        if spent is None or "undefined" in spent:
            return spent
        in_time = max(1, round(self.steps / spent["ratio"]))

        def measure() -> dict[str, Any]:
            marks = {self.steps, in_time}
            found = trained(self.problem, latent, seed, marks, self.settings.samples, self.settings.images)
            return {"seed": seed, "steps": found[self.steps], "time": found[in_time], "steps_in_time": in_time}

        return self.once(latent, f"seed_{seed}_{self.steps}", measure)

    def row(self, latent: str) -> Row | None:
        """All that is known of an estimator here; None where it is not defined or nothing was measured."""
        spent, runs = self.cost(latent), [self.run(latent, seed) for seed in self.settings.seeds]
        if spent is None or "undefined" in spent:
            return None
        noise = self.gradient(latent) or {}
        return Row(self.shape, latent, spent, noise, [run for run in runs if run is not None])


def measure_all(settings: Namespace) -> None:
    """Measures what is missing and writes the report. Raises UserError if no estimator is chosen or nothing was
    measured."""
    latents = matching_estimators(settings.only)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for waits in () if settings.report else (False, True):
        measure(latents, settings, waits)
    rows, undefined = [], {}
    shapes = [Evidence(shape, settings) for shape in SETTINGS]
    for evidence in shapes:
        for latent in estimator_options():
            rows += [row] if (row := evidence.row(latent)) else []
            if reason := (evidence.cost(latent) or {}).get("undefined"):
                undefined[f"{evidence.shape}, {latent}"] = reason
    if not rows:
        raise UserError(f"{shapes[0].folder} has no measurements")
    report(rows, undefined, shapes[0].steps, settings)


def measure(latents: Sequence[str], settings: Namespace, waits: bool) -> None:
    """Measures what is missing: costs and gradients, then runs seed by seed. waits: else what another process is at is
    left to it."""
    cells = [(Evidence(shape, settings, True, waits), latent) for shape in SETTINGS for latent in latents]
    for evidence, latent in cells:
        if (spent := evidence.cost(latent)) is not None and "undefined" not in spent:
            evidence.gradient(latent)
    for seed in settings.seeds:
        for evidence, latent in cells:
            evidence.run(latent, seed)
