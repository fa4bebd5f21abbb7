"""What a search leaves: the best settings as an experiment, a table of the best trials, two figures."""

from pathlib import Path

import matplotlib.pyplot as plt
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as figures
from rich.table import Table

from discrete_latents.config.printed_command import command, setting
from discrete_latents.console import console
from discrete_latents.errors import UserError, one_line
from discrete_latents.search.console import say, shown
from discrete_latents.search.experiment import as_experiment
from discrete_latents.search.settings import Search, configurations
from discrete_latents.search.study import FINISHED

SHOWN = 10
"""Trials in the table."""


def conclude(search: Search, study: Study) -> None:
    """Writes and shows what the study came to so far. Raises UserError where no trial was completed."""
    trials = study.get_trials(deepcopy=False)
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
        raise UserError(f"no trial was completed{f'; the last failed: {errors[-1]}' if errors else ''}")
    console().print(table(search, study, trials))
    say(tally(trials))
    again = write_best(search, study.best_trial)
    written = [search.folder / "experiment" / "best.yaml", *draw(search, study), search.folder / "study.db"]
    for path in written:
        say(one_line(str(path)))
    tested = command("python", "eval.py", setting("run", search.folder / str(study.best_trial.number)))
    say(f"\ntrain the best again:  {again}")
    say(f"test it as it is:      {tested}")


def table(search: Search, study: Study, trials: list[FrozenTrial]) -> Table:
    """The best trials, best first; of those that were pruned, the last value counts."""
    sign = -1 if search.settings.direction == "maximize" else 1
    ranked = [trial for trial in trials if trial.state in FINISHED and trial.value is not None]
    ranked.sort(key=lambda trial: (trial.state != TrialState.COMPLETE, sign * (trial.value or 0.0)))
    order = "highest" if sign < 0 else "lowest"
    shown_table = Table(title=f"{search.experiment} · {search.settings.metric}, {order} first")
    shown_table.add_column("trial", justify="right")
    shown_table.add_column(search.settings.metric, justify="right")
    for name in search.space:
        shown_table.add_column(name, justify="right", overflow="fold")
    for trial in ranked[:SHOWN]:
        pruned = "pruned at " if trial.state == TrialState.PRUNED else ""
        settings = [shown(trial.params[name]) for name in search.space]
        shown_table.add_row(str(trial.number), f"{pruned}{trial.value:.2f}", *settings)
    return shown_table


def tally(trials: list[FrozenTrial]) -> str:
    """How the trials ended, in words."""
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
    trial = one_line(f"Trial {best.number} of {search.folder}")
    about = f"{trial}: {search.settings.metric} {best.value:.4g}, its best validation."
    with configurations():
        content, rest = as_experiment(search.overrides(best.params), search.experiment, about)
    path = search.folder / "experiment" / "best.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return command("python", "train.py", "--config-dir", str(search.folder), "experiment=best", *rest)


def draw(search: Search, study: Study) -> list[Path]:
    """Writes the figures: the importance of each setting, and the trials' values in order."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    written = []
    metric = search.settings.metric
    with plt.style.context("default"):  # Optuna sets its own, for good
        history = figures.plot_optimization_history(study, target_name=metric)
        history.set(title=f"{search.experiment}: trials that were completed", xlabel="trial")
        history.legend(["a trial", "the best so far"], loc="best")
        written.append(save(search.folder / "history.png"))
        if len({trial.value for trial in completed}) > 1:
            importances = figures.plot_param_importances(study, target_name=metric)
            importances.set_title(f"{search.experiment}: what {metric} depends on", loc="left")
            importances.set(xlabel="importance", ylabel="")
            if legend := importances.get_legend():
                legend.remove()
            written.append(save(search.folder / "importances.png"))
    return written


def save(path: Path) -> Path:
    """Saves the current figure, and closes it."""
    plt.savefig(path, dpi=120, bbox_inches="tight")
    plt.close()
    return path
