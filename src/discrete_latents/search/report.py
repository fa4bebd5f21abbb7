"""The report of a search: the best settings as an experiment, a table of the best trials, two figures."""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as figures
from rich.table import Table

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.compose import configurations
from discrete_latents.config.printed_command import command, program, setting
from discrete_latents.console import console
from discrete_latents.errors import UserError, one_line
from discrete_latents.search.console import say, shown
from discrete_latents.search.experiment import as_experiment
from discrete_latents.search.settings import Search
from discrete_latents.search.study import FINISHED, tried

SHOWN = 10
"""Trials in the table."""


def conclude(search: Search, study: Study) -> None:
    """Writes and prints the state of the study. Raises UserError if no trial was completed."""
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
        raise UserError(f"no trial was completed{f'; the last failed: {errors[-1]}' if errors else ''}")
    console().print(table(search, study, trials))
    say(tally(trials))
    again = write_best(search, study.best_trial)
    written = [search.directory.best, *draw_figures(search, study), search.directory.study]
    for path in written:
        say(one_line(str(path)))
    best = search.directory.trial(study.best_trial.number)
    say(f"\ntrain the best again:  {again}")
    say(f"test it as it is:      {command(*program('eval'), setting('run', best))}")


def table(search: Search, study: Study, trials: list[FrozenTrial]) -> Table:
    """The best trials, best first; pruned ones after the others, by their last value."""
    sign = -1 if search.settings.direction == "maximize" else 1
    ranked = [trial for trial in trials if trial.state in FINISHED and trial.value is not None]
    ranked.sort(key=lambda trial: (trial.state != TrialState.COMPLETE, sign * (trial.value or 0.0)))
    order = "highest" if sign < 0 else "lowest"
    shown_table = Table(title=f"{search.experiment} · {search.settings.metric}, {order} first")
    shown_table.add_column("trial", justify="right", overflow="fold")
    shown_table.add_column(search.settings.metric, justify="right", overflow="fold")
    for name in search.space:
        shown_table.add_column(name, justify="right", overflow="fold")
    for trial in ranked[:SHOWN]:
        pruned = "pruned at " if trial.state == TrialState.PRUNED else ""
        settings = [shown(tried(trial)[name]) for name in search.space]
        shown_table.add_row(str(trial.number), f"{pruned}{trial.value:.2f}", *settings)
    return shown_table


def tally(trials: list[FrozenTrial]) -> str:
    """How many trials ended in each way."""
    ends = {
        "completed": sum(trial.state == TrialState.COMPLETE for trial in trials),
        "pruned": sum(trial.state == TrialState.PRUNED for trial in trials),
        "failed": sum("error" in trial.user_attrs for trial in trials),
        "interrupted": sum(trial.state == TrialState.FAIL and "error" not in trial.user_attrs for trial in trials),
        "still running": sum(trial.state == TrialState.RUNNING for trial in trials),
    }
    return "trials: " + ", ".join(f"{count} {end}" for end, count in ends.items() if count)


def write_best(search: Search, best: FrozenTrial) -> str:
    """Writes the best trial as an experiment. Returns the command that runs it."""
    value = f"{search.settings.metric} {best.value:.4g}"
    about = f"{one_line(f'Trial {best.number} of {search.directory}')}: {value}, its best validation."
    base = None if "~experiment" in search.overrides else search.experiment
    with configurations():
        content, rest = as_experiment(search.trial_overrides(tried(best)), base, about)
    atomic_write(search.directory.best, content)
    return command(*program("train"), "--config-dir", str(search.directory), "experiment=best", *rest)


def draw_figures(search: Search, study: Study) -> list[Path]:
    """Writes the figures: the importance of each setting, and the trials' values in order."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    written = []
    metric = search.settings.metric
    with plt.style.context("default"):  # Optuna would change the style for good
        history = figures.plot_optimization_history(study, target_name=metric)
        history.set(title=f"{search.experiment}: trials that were completed", xlabel="trial")
        history.legend(["a trial", "the best so far"], loc="best")
        written.append(save(search.directory.history))
        if len({trial.value for trial in completed}) > 1:
            importances = figures.plot_param_importances(study, target_name=metric)
            importances.set_title(f"{search.experiment}: what {metric} depends on", loc="left")
            importances.set(xlabel="importance", ylabel="")
            if legend := importances.get_legend():
                legend.remove()
            written.append(save(search.directory.importances))
    return written


def save(path: Path) -> Path:
    """Saves the current figure, and closes it."""
    atomic_write(path, partial(plt.savefig, format="png", dpi=120, bbox_inches="tight"))
    plt.close()
    return path
