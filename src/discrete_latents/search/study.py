"""The study of a search: a SQLite file of trials, which processes share and later calls continue."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import OptunaError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from discrete_latents.config.migration import renamed
from discrete_latents.config.overrides import key
from discrete_latents.errors import UserError, first_line
from discrete_latents.runs.directory import SearchDirectory
from discrete_latents.runs.files import check_regular
from discrete_latents.search.settings import Search

ELSEWHERE = ("paths", "logger", "hydra", "resume")
"""Groups that may differ from call to call: no trial's value depends on them."""


class Seeded(BaseSampler):
    """A sampler that is rebuilt for each trial, with a seed of that trial: several processes and later calls never draw
    the same, and the same trials always lead to the same next one."""

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


def storage(url: str) -> optuna.storages.RDBStorage:
    """A study's database, closed after each use: a connection that is kept would be open in other processes too."""
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}, "poolclass": NullPool})


def open_study(search: Search) -> Study:
    """The study in the search's directory, new or continued. Raises UserError if the directory holds another search."""
    search.directory.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(search.directory.lock), readable(search.directory.study):
        study = optuna.create_study(
            study_name="search",
            storage=storage(database(search.directory)),
            sampler=Seeded(search.sampler, search.settings.seed),
            pruner=search.pruner(),
            direction=search.settings.direction,
            load_if_exists=True,
        )
        now = common_settings(search)
        before = sorted(renamed(override) for override in study.user_attrs.get("search", now))
        if now != before:
            old, new = (", ".join(sorted({*first} - {*second})) for first, second in ((before, now), (now, before)))
            raise UserError(
                f"search.dir = {search.directory} holds another search: {old or 'nothing'}, where this one has "
                f"{new or 'nothing'}; name another folder"
            )
        study.set_user_attr("search", now)
        study.get_trials(deepcopy=False)
        fail_dead(study, search.directory)
    return study


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises UserError for a file that is not the database of a study: whatever makes SQLite, SQLAlchemy or Optuna
    stumble over it."""
    try:
        with suppress(FileNotFoundError):
            check_regular(path)
        yield
    except (
        SQLAlchemyError,
        OptunaError,
        OSError,
        ValueError,
        RuntimeError,
        AssertionError,
        TypeError,
        KeyError,
    ) as error:
        said = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise UserError(f"{path} cannot be read as the study of a search: {said}") from error


def database(directory: SearchDirectory) -> str:
    """The URL of a study's file, whatever its folder is called, and wherever the process moves."""
    url = URL.create("sqlite", database=str(directory.study.absolute()))
    return url.render_as_string(hide_password=False)


def common_settings(search: Search) -> list[str]:
    """What all trials of a study have in common: a study is continued only where this is the same."""
    overrides = [override for override in search.overrides if key(override).split(".")[0] not in ELSEWHERE]
    space = [f"search.space.{name}={distribution}" for name, distribution in search.space.items()]
    metric = f"search.metric={search.settings.metric}", f"search.direction={search.settings.direction}"
    return sorted({f"experiment={search.experiment}", *overrides, *space, *metric})


def tried(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial varied, by the names that the settings have now."""
    return {renamed(name): value for name, value in trial.params.items()}


def next_trial(study: Study, search: Search) -> tuple[Trial, FileLock] | None:
    """A new trial, and the lock that it holds while it runs; None once there are `search.trials`."""
    with FileLock(search.directory.lock):  # so that processes together start as many as were asked for
        fail_dead(study, search.directory)
        if sum(counts(trial) for trial in study.get_trials(deepcopy=False)) >= search.settings.trials:
            return None
        trial = study.ask(search.space)
        running = running_lock(search.directory, trial.number)
        running.acquire()
        return trial, running


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards `search.trials`: not one that was interrupted or killed."""
    return trial.state in (TrialState.RUNNING, *FINISHED) or "error" in trial.user_attrs


FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def fail_dead(study: Study, directory: SearchDirectory) -> None:
    """Marks trials as failed whose process was killed: the system has released their locks."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        running = running_lock(directory, trial.number)
        try:
            running.acquire(timeout=0)
        except Timeout:
            continue
        # Asked again: the trial may have ended since, and its process released the lock itself.
        if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        release(running)


def running_lock(directory: SearchDirectory, number: int) -> FileLock:
    """Held while a trial runs."""
    path = directory.running_lock(number)
    path.parent.mkdir(exist_ok=True)
    return FileLock(path)


def release(running: FileLock) -> None:
    running.release()
    Path(running.lock_file).unlink(missing_ok=True)
