"""The study of a search: trials in a SQLite file that processes share and later calls continue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL

from discrete_latents.config.overrides import key
from discrete_latents.errors import UserError
from discrete_latents.search.settings import Search

ELSEWHERE = ("paths", "logger", "hydra", "resume")
"""What may differ from call to call, since no trial's value depends on it."""


class Seeded(BaseSampler):
    """A sampler made anew for each trial, with a seed of that trial's own: several processes and later calls never
    draw the same, and the same trials lead to the same next one."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make = make
        self.seed = seed
        self.sampler = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.sampler = self.make(int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0]))
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)


def open_study(search: Search) -> Study:
    """The study of the search's folder, begun or continued. Raises UserError where the folder holds another."""
    search.folder.mkdir(parents=True, exist_ok=True)
    with lock(search.folder):
        study = optuna.create_study(
            study_name="search",
            storage=optuna.storages.RDBStorage(
                database(search.folder), engine_kwargs={"connect_args": {"timeout": 60}}
            ),
            sampler=Seeded(search.sampler, search.settings.seed),
            pruner=search.pruner(),
            direction=search.settings.direction,
            load_if_exists=True,
        )
        now = described(search)
        before = study.user_attrs.get("search", now)
        if now != before:
            old, new = (", ".join(sorted({*first} - {*second})) for first, second in ((before, now), (now, before)))
            raise UserError(
                f"search.dir = {search.folder} holds another search: {old or 'nothing'}, where this one has "
                f"{new or 'nothing'}; name another folder"
            )
        study.set_user_attr("search", now)
        fail_dead(study, search.folder)
    return study


def database(folder: Path) -> str:
    """The URL of a study's file, whatever its folder is called, and wherever the process moves."""
    url = URL.create("sqlite", database=str(folder.absolute() / "study.db"))
    return url.render_as_string(hide_password=False)


def described(search: Search) -> list[str]:
    """What all trials of a study have in common."""
    words = [word for word in search.words if key(word).split(".")[0] not in ELSEWHERE]
    space = [f"search.space.{name}={distribution}" for name, distribution in search.space.items()]
    metric = f"search.metric={search.settings.metric}", f"search.direction={search.settings.direction}"
    return sorted({f"experiment={search.experiment}", *words, *space, *metric})


def next_trial(study: Study, search: Search) -> tuple[Trial, FileLock] | None:
    """A new trial, and the lock that says that it runs, until there are `search.trials`; then None."""
    with lock(search.folder):
        fail_dead(study, search.folder)
        if sum(counts(trial) for trial in study.get_trials(deepcopy=False)) >= search.settings.trials:
            return None
        trial = study.ask(search.space)
        running = FileLock(running_lock(search.folder, trial.number))
        running.acquire()
        return trial, running


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the number that was asked for: not one that was interrupted or killed."""
    return trial.state in (TrialState.RUNNING, *FINISHED) or "error" in trial.user_attrs


FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def fail_dead(study: Study, folder: Path) -> None:
    """Marks trials failed whose process was killed: the system has let go of their locks."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        running = FileLock(running_lock(folder, trial.number))
        try:
            running.acquire(timeout=0)
        except Timeout:
            continue
        # Asked once more: it may have ended since, and its process let go of the lock by itself.
        if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        release(running)


def lock(folder: Path) -> FileLock:
    """Held while trials are counted and begun, so that processes together start as many as were asked for."""
    return FileLock(folder / "study.lock")


def running_lock(folder: Path, number: int) -> Path:
    path = folder / str(number) / "running.lock"
    path.parent.mkdir(exist_ok=True)
    return path


def release(running: FileLock) -> None:
    running.release()
    Path(running.lock_file).unlink(missing_ok=True)
