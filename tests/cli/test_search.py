"""`discrete-latents-search`, as a user runs it."""

import csv
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from discrete_latents import cli
from discrete_latents.search.command import search_main
from discrete_latents.search.study import storage
from tests.cli.conftest import Outcome
from tests.cli.test_errors import case

COMMAND = [sys.executable, "-m", "discrete_latents.search"]

TINY = ["model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]"]


def search(*words: str, cwd: Path, **variables: str) -> Outcome:
    """Runs `python -m discrete_latents.search …` in a subprocess."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"} | variables
    done = subprocess.run([*COMMAND, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=550)
    return Outcome(done.returncode, done.stdout, done.stderr)


def trials(folder: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="search", storage=storage(f"sqlite:///{folder}/study.db")).trials


def validations(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["val/nelbo"]) for row in csv.DictReader(file) if row["val/nelbo"]]


# Mistakes.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        case("search.trails=3", "search.trails is not a setting", "did you mean search.trials"),
        case("search=lr", "search = lr is not an option", "default, estimator, lr_temperature"),
        case("optimiser=adam", "optimiser is not a setting", "did you mean optimizer"),
        case("experiment=vae_mnits", "experiment = vae_mnits is not an option", "did you mean vae_mnist"),
        case("search.trials=0", "search.trials must be a whole number of at least 1, got 0"),
        case("search.workers=0", "search.workers must be a whole number of at least 1, got 0"),
        case("search.timeout=-1", "search.timeout must be a number greater than 0, got -1"),
        case("search.direction=down", "search.direction must be minimize or maximize, got 'down'"),
        case("search.metric=test/nll", "search.metric must be one of validation", "got 'test/nll'"),
        case("search.metric=val/loss", "search.metric must be one of", "val/nelbo", "got 'val/loss'"),
        case("search=default", "search.space names no setting to vary"),
        case("search.space.optimizer.lr.low=1", "search.space.optimizer.lr.low must be at most high = 0.01, got 1"),
        case("+search.space.optimizer.lrr.choices=[1]", "search.space: optimizer.lrr is not a setting", "optimizer.lr"),
        case("+search.space.latent.choices=[exat]", "search.space: latent = exat is not an option", "exact"),
        case("optimizer.lr=0.1", "search.space: optimizer.lr cannot be varied and set as well"),
        case("temperature=cosine", "search.space: temperature.rate is not a setting"),
        case("+search.sampler.foo=1", "search.sampler", "unexpected keyword argument 'foo'"),
        case("search.pruner._target_=optuna.pruners.Foo", "search.pruner", "optuna.pruners.Foo"),
        case("data.batch_size=0", "data.batch_size must be a whole number of at least 1, got 0"),
        case("trainer.precision=31", "trainer", "31", "32-true"),
        case("trainer=ddp_sim", "trainer.devices = 2: a trial is one process; search.workers runs several"),
        case("resume=logs", "resume = logs goes on with one run; a search goes on by the same command"),
        case("seed=1,2", "seed=1,2"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(line, said, command, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "search_main", search_main, raising=False)
    outcome = command("search", *shlex.split(line))
    errors = [line for line in outcome.err.splitlines() if not line.startswith("not used by")]
    assert outcome.code == 1
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert all(part in errors[0] for part in said)
    assert not list(tmp_path.iterdir())


def test_the_group_is_not_one_of_training(command):
    assert command("train", "search=estimator").err == "error: search is a group that this command does not take\n"


def test_without_optuna_it_says_what_to_install(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['optuna'] = None")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    outcome = search("search.trials=2", cwd=tmp_path, PYTHONPATH=paths)
    said = "error: a search needs optuna, which is not installed: pip install 'discrete-latents[sweep]'\n"
    assert (outcome.code, outcome.out, outcome.err) == (1, "", said)


# Eight trials by two workers on one file.


@dataclass
class Searched:
    """A search of eight trials. Some of them cannot work: hidden layers of no unit."""

    cwd: Path
    folder: Path
    words: list[str]
    outcome: Outcome


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    cwd = tmp_path_factory.mktemp("elsewhere")
    space = ["+search.space.model.network.hidden.choices=[[16],[8,8],[0]]", "search.sampler.n_startup_trials=8"]
    words = [*TINY[:2], "trainer.max_epochs=12", *space]
    outcome = search(*words, "search.trials=8", "search.workers=2", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return Searched(cwd, cwd / "logs" / "vae_digits" / "searches" / "lr_temperature", words, outcome)


@pytest.mark.slow
def test_two_workers_share_a_file_and_run_each_trial_once(searched):
    found = trials(searched.folder)
    assert [trial.number for trial in found] == list(range(8))
    assert all(trial.state != TrialState.RUNNING for trial in found)
    assert len({tuple(trial.params.values()) for trial in found}) == 8
    by_start = sorted(found, key=lambda trial: trial.datetime_start)
    assert any(second.datetime_start < first.datetime_complete for first, second in pairwise(by_start))
    assert searched.outcome.err == ""


@pytest.mark.slow
def test_each_trial_is_a_run_that_saw_no_test_image(searched):
    for trial in trials(searched.folder):
        folder = searched.folder / str(trial.number)
        results = yaml.safe_load((folder / "results.json").read_text())
        if trial.state == TrialState.FAIL:
            assert trial.params["model.network.hidden"] == "[0]"
            assert trial.user_attrs["error"] == results["error"]
            assert "model.network.hidden must be a list of whole numbers" in results["error"]
            assert f"trial {trial.number}: failed: model.network.hidden must be" in searched.outcome.out
            continue
        config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert str(config["model"]["network"]["hidden"]).replace(" ", "") == trial.params["model.network.hidden"]
        assert trial.value == pytest.approx(
            min(validations(folder)) if trial.state == TrialState.COMPLETE else trial.value
        )
        assert results["metrics"]["val/nelbo"] == pytest.approx(min(validations(folder)))
        assert results["status"] == ("completed" if trial.state == TrialState.COMPLETE else "pruned")
        assert "test/" not in (folder / "metrics.csv").read_text()
        assert (folder / "images" / "samples.png").is_file() == (len(validations(folder)) >= 10)
    assert {trial.state for trial in trials(searched.folder)} >= {TrialState.COMPLETE, TrialState.FAIL}


@pytest.mark.slow
def test_it_ends_with_a_table_figures_and_the_best_as_an_experiment_that_runs(searched, command):
    best = min((trial for trial in trials(searched.folder) if trial.value), key=lambda trial: trial.value)
    out = searched.outcome.out
    assert f"{best.value:.2f}" in next(line for line in out.splitlines() if line.startswith(f"│     {best.number} │"))
    for name in ("history.png", "importances.png"):
        assert (searched.folder / name).read_bytes().startswith(b"\x89PNG")
    (retrain,) = (line.partition(":")[2] for line in out.splitlines() if line.startswith("train the best again:"))
    python, script, *words = shlex.split(retrain)
    assert (python, script) == ("python", "train.py")
    again = command("train", *words, "eval_samples=2", "hydra.run.dir=again", cwd=searched.cwd)
    assert again.code == 0, again.err
    assert min(validations(searched.cwd / "again")) == pytest.approx(best.value, rel=1e-6)
    (test,) = (line.partition(":")[2] for line in out.splitlines() if line.startswith("test it as it is:"))
    python, script, *words = shlex.split(test)
    assert (python, script) == ("python", "eval.py")
    tested = command("eval", *words, "eval_samples=2", cwd=searched.cwd)
    assert tested.code == 0, tested.err
    assert "test/nll" in tested.out


@pytest.mark.slow
def test_a_second_call_goes_on_with_the_study(searched):
    before = trials(searched.folder)
    outcome = search(*searched.words, "search.trials=9", cwd=searched.cwd)
    assert outcome.code == 0, outcome.err
    after = trials(searched.folder)
    assert [trial.params for trial in after[:-1]] == [trial.params for trial in before]
    assert [trial.datetime_complete for trial in after[:-1]] == [trial.datetime_complete for trial in before]
    assert after[-1].number == 8
    assert outcome.out.count("\ntrial ") + outcome.out.startswith("trial ") == 1


# Calls that end early.


def started(cwd: Path, *words: str) -> subprocess.Popen:
    """A search in a process that Ctrl-C reaches, also where that of the tests runs in the background."""
    return subprocess.Popen(
        [*COMMAND, *TINY, "trainer.max_epochs=600", *words],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(cwd: Path, *numbers: int) -> None:
    """Until trials have begun to train."""
    until = time.time() + 120
    while not all((cwd / "found" / str(number) / "metrics.csv").is_file() for number in numbers):
        assert time.time() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_calls_on_one_file_share_it_and_a_killed_and_an_interrupted_one_are_made_up_for(tmp_path):
    words = ["search.dir=found", "search.trials=2", "search.pruner=null"]
    killed, interrupted = started(tmp_path, *words), started(tmp_path, *words, "search.workers=2")
    wait_for(tmp_path, 0, 1)
    killed.kill()
    interrupted.send_signal(signal.SIGINT)
    killed.communicate()
    out, err = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert out.endswith("interrupted; the same command goes on from here\n")
    assert "Traceback" not in err
    assert len(trials(tmp_path / "found")) == 2
    last = started(tmp_path, *words, "search.trials=1")
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert "trials: 1 completed, 2 interrupted" in out
    states = [trial.state for trial in trials(tmp_path / "found")]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert not list(tmp_path.rglob("running.lock"))
