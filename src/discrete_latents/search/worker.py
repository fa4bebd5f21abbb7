"""Runs the trials of a search, in this process or in several."""

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.synchronize import Event

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna import Study
from optuna.trial import Trial, TrialState

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.compose import chosen_names, configurations
from discrete_latents.config.composition_errors import one_line_errors
from discrete_latents.config.paths import path_override, set_from_start
from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.lock import HELD
from discrete_latents.runs.results import write_results
from discrete_latents.search.console import prepare_worker, say, values
from discrete_latents.search.settings import Search
from discrete_latents.search.study import next_trial, open_study, release
from discrete_latents.search.trial_report import TrialReport
from discrete_latents.secrecy import masked_text
from discrete_latents.training.train import train as train_run


def work(search: Search, study: Study, interrupted: Callable[[], bool], until: float | None) -> None:
    """Runs trials one after another. Raises KeyboardInterrupt after Ctrl-C, or when `interrupted` returns True.

    until: the time, in seconds since the epoch, after which no trial starts.
    """
    while (until is None or time.time() < until) and not interrupted():
        begun = next_trial(study, search)
        if begun is None:
            return
        trial, running = begun
        try:
            run_trial(search, study, trial, interrupted)
        except (KeyboardInterrupt, SystemExit):  # SIGTERM's is a SystemExit
            study.tell(trial, state=TrialState.FAIL)
            say(f"trial {trial.number}: interrupted")
            raise
        finally:
            release(running)


def run_trial(search: Search, study: Study, trial: Trial, interrupted: Callable[[], bool]) -> None:
    """Trains one trial as train.py would, without testing, and reports its value to the study."""
    run = RunDirectory(search.directory.trial(trial.number).folder.absolute())  # hydra.job.chdir moves the job
    settings = search.settings
    report = TrialReport(
        trial, settings.metric, settings.direction == "maximize", interrupted, quiet=settings.workers > 1
    )

    def train(config: DictConfig) -> Exception | None:
        try:  # Hydra would print lines of its own
            run.save_config(config, HydraConfig.get())
            set_from_start(config, HydraConfig.get().runtime.cwd)
            names = chosen_names(HydraConfig.get().runtime.choices)
            results = train_run(config, names, callbacks=[report], test=False)
            status = "pruned" if report.pruned else "completed"
            write_results(run, results | {"metrics": report.metrics, "status": status})
        except Exception as error:
            return error
        return None

    overrides = [*search.trial_overrides(trial.params), path_override("hydra.run.dir", run)]
    started = time.perf_counter()
    with configurations(), HELD:
        try:
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            with one_line_errors("search"):
                error = hydra.run("train", train, overrides).return_value
        except UserError as refused:
            error = refused
    if error is None and not report.metrics:
        error = UserError(f"no validation came to its end, so there is no {settings.metric}")
    if error is None:
        value = report.metrics[settings.metric]
        if report.pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)
        stopped = f"pruned after {report.validations} validations, " if report.pruned else ""
        came_to = f"{stopped}{settings.metric} {value:.4g}, {time.perf_counter() - started:.1f} s"
    else:
        if not isinstance(error, UserError):
            atomic_write(run.error, masked_text("".join(traceback.format_exception(error))))
            error = RuntimeError(f"{type(error).__name__}: {error}")
        reason = " ".join(str(error).split())
        trial.set_user_attr("error", reason)
        write_results(run, {"experiment": search.experiment, "status": "failed", "error": reason})
        study.tell(trial, state=TrialState.FAIL)
        came_to = f"failed: {reason}"
    say(f"trial {trial.number}: {came_to}; {values(trial.params)}")


def work_together(search: Search, until: float | None) -> None:
    """Runs trials in `search.workers` processes. Raises KeyboardInterrupt once they have stopped after Ctrl-C."""
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    workers = [
        spawn.Process(target=worker, args=(search, stop, until), daemon=True) for _ in range(search.settings.workers)
    ]
    # Only this process handles Ctrl-C, and tells the workers, which start with it ignored.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in workers:
        process.start()
    signal.signal(signal.SIGINT, handler)
    try:
        for process in workers:
            process.join()
    except KeyboardInterrupt:
        stop.set()
        for process in workers:
            process.join()
        raise
    for process in workers:
        if process.exitcode:
            say(f"a worker broke down with exit code {process.exitcode}")


def worker(search: Search, stop: Event, until: float | None) -> None:
    """One of several processes: ends when it is told to, or when the process that started it has ended."""
    prepare_worker()
    torch.set_num_threads(max(1, torch.get_num_threads() // search.settings.workers))
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(KeyboardInterrupt):
        work(search, open_study(search), lambda: stop.is_set() or not parent.is_alive(), until)
