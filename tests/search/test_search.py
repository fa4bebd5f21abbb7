"""What a search is made of: its space, its study, what it follows of a run, and its best trial as an experiment."""

import csv
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import optuna
import pytest
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning
from filelock import FileLock
from hydra import compose
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

with warnings.catch_warnings():
    warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)  # OmegaConf's DictConfig
    from discrete_latents.config.compose import configurations, group_options
    from discrete_latents.errors import UserError
    from discrete_latents.runs.directory import SearchDirectory
    from discrete_latents.search.console import prepare_worker
    from discrete_latents.search.experiment import as_experiment
    from discrete_latents.search.settings import Search, read_search
    from discrete_latents.search.space import distributions
    from discrete_latents.search.study import fail_dead, next_trial, open_study, release, tried
    from discrete_latents.search.trial_report import TrialReport
    from discrete_latents.training.train import train

OPTIONS = [option for option in group_options()["search"] if option != "default"]


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Puts back what training leaves in the environment, and lets Optuna be as calm as it is in a search."""
    before = dict(os.environ)
    prepare_worker()
    yield
    os.environ.clear()
    os.environ.update(before)


def search(folder: Path, *words: str) -> Search:
    return read_search(["model.network.hidden=[8]", "model.num_latents=2", f"search.dir='{folder}'", *words])


# The space.


def test_a_space_may_be_nested_or_dotted_and_holds_ranges_whole_numbers_and_choices():
    space = {
        "optimizer": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "hold": {"low": 0.0, "high": 1.0, "step": 0.25}},
        "model.num_latents": {"low": 5, "high": 21, "step": 5},
        "latent": {"choices": ["rloo", "vimco"], "samples": {"low": 1, "high": 4}},
        "model": {"network": {"hidden": {"choices": [[16], [32, 32], None]}}},
    }
    assert distributions(space) == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "optimizer.hold": FloatDistribution(0.0, 1.0, step=0.25),
        "model.num_latents": IntDistribution(5, 20, step=5),
        "latent": CategoricalDistribution(["rloo", "vimco"]),
        "latent.samples": IntDistribution(1, 4),
        "model.network.hidden": CategoricalDistribution(["[16]", "[32,32]", "null"]),
    }


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({}, "search.space names no setting"),
        ({"seed": 3}, r"search.space.seed must be \{low, high, step, log\} or \{choices: \[...\]\}, got 3"),
        ({"seed": {"low": 2, "high": 1}}, "search.space.seed.low must be at most high = 1, got 2"),
        ({"seed": {"low": 2}}, "search.space.seed.high must be a number, got None"),
        ({"a.b": {"low": "x", "high": 2}}, "search.space.a.b.low must be a number, got 'x'"),
        (
            {"a": {"b": {"low": 1, "high": 2, "lgo": True}}},
            "search.space.a.b.lgo is not a part of a range: did",
        ),
        ({"a": {"low": 0.0, "high": 1.0, "log": True}}, "search.space.a.low must be greater than 0 with log = true"),
        ({"a": {"low": 1, "high": 2, "log": "yes"}}, "search.space.a.log must be true or false, got 'yes'"),
        ({"a": {"low": 1, "high": 9, "log": True, "step": 2}}, "search.space.a.step must be .* without log, got 2"),
        ({"a": {"low": 1, "high": 9, "step": 0}}, "search.space.a.step must be a number greater than 0"),
        ({"a": {"choices": []}}, "search.space.a.choices must be a list of at least one"),
        ({"a": {"choices": [1], "low": 1}}, "search.space.a.choices must be a list .* with nothing beside it"),
    ],
)
def test_a_space_that_cannot_be_searched_says_so(node, said):
    with pytest.raises(UserError, match=said):
        distributions(node)


# The search.


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_describes_a_search_that_can_start(option, tmp_path):
    found = read_search([f"search={option}", f"search.dir='{tmp_path}'"])
    assert found.space
    assert found.experiment == "vae_digits"
    assert not list(tmp_path.iterdir())


def test_the_checkpoint_is_chosen_by_the_metric_of_the_search(tmp_path):
    assert search(tmp_path).overrides == ["model.network.hidden=[8]", "model.num_latents=2"]
    other = search(tmp_path, "search.metric=val/code_usage", "search.direction=maximize").overrides[2:]
    assert other == ["callbacks.checkpoint.monitor=val/code_usage", "callbacks.checkpoint.mode=max"]


# The study.


def test_a_trial_draws_by_its_number_alone_whoever_begins_it(tmp_path):
    """The third of one process is the third of three: and no two are the same."""
    one = search(tmp_path / "one")
    study = open_study(one)
    together = [begun(study, one).params for _ in range(3)]
    other = search(tmp_path / "other")
    apart = [begun(open_study(other), other).params for _ in range(3)]
    assert together == apart
    assert len({tuple(params.values()) for params in together}) == 3
    seeded = search(tmp_path / "seeded", "search.seed=1")
    assert begun(open_study(seeded), seeded).params != together[0]


def begun(study, described):
    trial, running = next_trial(study, described)
    study.tell(trial, 1.0)
    release(running)
    return trial


def test_as_many_trials_as_asked_for_are_begun_and_interrupted_ones_are_made_up_for(tmp_path):
    described = search(tmp_path, "search.trials=4")
    study = open_study(described)
    started = [next_trial(study, described) for _ in range(4)]  # which holds their locks
    done, failed, interrupted, _ = (trial for trial, _ in started)
    assert next_trial(study, described) is None
    study.tell(done, 1.0)
    failed.set_user_attr("error", "seed must be 3")
    study.tell(failed, state=TrialState.FAIL)
    assert next_trial(study, described) is None
    study.tell(interrupted, state=TrialState.FAIL)
    started.append(next_trial(study, described))
    assert started[-1][0].number == 4
    assert next_trial(study, described) is None


def test_a_trial_whose_process_was_killed_is_failed_by_the_next_start(tmp_path):
    described = search(tmp_path, "search.trials=2")
    study = open_study(described)
    (_, killed), running = next_trial(study, described), next_trial(study, described)
    killed.release()  # as the system does
    states = [trial.state for trial in open_study(described).trials]
    assert states == [TrialState.FAIL, TrialState.RUNNING]
    assert next_trial(study, described)[0].number == 2
    release(running[1])


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_a_trial_that_ends_while_the_dead_are_looked_for_stays_what_it_is(tmp_path, monkeypatch, state):
    described = search(tmp_path, "search.trials=2")
    study = open_study(described)
    _, running = next_trial(study, described)

    class EndsFirst(FileLock):
        """Its trial's own process ends the trial, and lets go of the lock, just before it is asked for."""

        def acquire(self, *arguments, **named):
            if Path(self.lock_file).name == "running.lock" and running.is_locked:
                optuna.load_study(study_name="search", storage=study._storage).tell(0, state=state)
                running.release()
            return super().acquire(*arguments, **named)

    monkeypatch.setattr("discrete_latents.search.study.FileLock", EndsFirst)
    fail_dead(study, SearchDirectory(tmp_path))
    assert [trial.state for trial in study.trials] == [state]


def test_a_folder_with_another_search_is_refused_and_says_what_differs(tmp_path):
    open_study(search(tmp_path, "trainer.max_epochs=3"))
    open_study(search(tmp_path, "trainer.max_epochs=3", "search.trials=50", "paths.data_dir=elsewhere"))
    with pytest.raises(UserError, match=r"holds another search: trainer.max_epochs=3, where this one has trainer.max"):
        open_study(search(tmp_path, "trainer.max_epochs=4"))
    with pytest.raises(UserError, match=r"another search: search.space.optimizer.lr=.*low=0.0003.* has .*low=0.001"):
        open_study(search(tmp_path, "trainer.max_epochs=3", "search.space.optimizer.lr.low=0.001"))


def test_a_study_of_before_goes_on_under_the_names_that_settings_have_now(tmp_path):
    study = open_study(search(tmp_path))
    words = study.user_attrs["search"]
    study.set_user_attr("search", [word.replace("model.network.hidden", "model.hidden") for word in words])
    assert "model.hidden=[8]" in study.user_attrs["search"]
    assert open_study(search(tmp_path)).user_attrs["search"] == words


def test_what_a_trial_of_before_varied_has_the_names_of_now():
    widths = CategoricalDistribution(["[8]", "[16]"])
    trial = optuna.create_trial(params={"model.hidden": "[8]"}, distributions={"model.hidden": widths}, value=1.0)
    assert tried(trial) == {"model.network.hidden": "[8]"}


@pytest.mark.parametrize("words", [["experiment=null"], ["~experiment"]], ids=str)
def test_a_search_without_an_experiment(words, tmp_path):
    described = search(tmp_path, *words)
    assert described.experiment == "default"
    assert "~experiment" in described.overrides


def test_an_option_that_lacks_what_is_varied_beside_it_is_said_before_any_trial(tmp_path):
    with pytest.raises(UserError, match=r"search\.space: temperature\.rate is not a setting"):
        search(tmp_path, "+search.space.temperature.choices=[exponential,cosine]")


# A trial's run.


class Recorded:
    """A trial that is pruned at a given report."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.values: dict[int, float] = {}

    def report(self, value: float, step: int) -> None:
        self.values[step] = value

    def should_prune(self) -> bool:
        return len(self.values) == self.last


def trained(folder: Path, report: TrialReport, *words: str) -> dict:
    small = ["model.network.hidden=[8]", "model.num_latents=2", "trainer.max_epochs=5", f"paths.output_dir='{folder}'"]
    with configurations():
        config = compose("train", [*small, *words])
    return train(config, {"experiment": "any", "latent": "any"}, callbacks=[report], test=False)


def test_a_trial_reports_each_validation_and_keeps_the_best_and_tests_nothing(tmp_path):
    trial = Recorded(last=0)
    report = TrialReport(trial, "val/nelbo", maximize=False, interrupted=lambda: False)
    results = trained(tmp_path, report, "optimizer.lr=0.3")
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = [float(row["val/nelbo"]) for row in rows if row["val/nelbo"]]
    assert list(trial.values) == [1, 2, 3, 4, 5]
    assert list(trial.values.values()) == pytest.approx(logged)
    assert report.metrics["val/nelbo"] == min(trial.values.values())
    assert min(logged) < logged[-1]  # else the last would do as well
    assert not any(name.startswith("test/") for name in rows[0])
    assert (results["epochs"], results["metrics"]) == (5, {})


def test_a_pruned_trial_ends_after_the_validation_that_decided_it(tmp_path):
    report = TrialReport(Recorded(last=2), "val/nelbo", maximize=False, interrupted=lambda: False, quiet=True)
    assert trained(tmp_path, report)["epochs"] == 2
    assert report.pruned
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def test_the_best_of_a_metric_to_maximise_is_the_highest(tmp_path):
    trial = Recorded(last=0)
    report = TrialReport(trial, "val/nelbo", maximize=True, interrupted=lambda: False, quiet=True)
    trained(tmp_path, report)
    assert report.metrics["val/nelbo"] == max(trial.values.values()) > min(trial.values.values())


def test_a_trial_that_diverges_fails_at_its_first_such_step(tmp_path):
    report = TrialReport(Recorded(last=0), "val/nelbo", maximize=False, interrupted=lambda: False, quiet=True)
    with pytest.raises(UserError, match="the bound of step 1 is nan, of the step before"):
        trained(tmp_path, report, "optimizer=sgd", "optimizer.lr=1e30")


class Blind(TrialReport):
    """Of a model that trains well and validates badly."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.output_bias.fill_(math.nan)


def test_a_metric_that_is_not_finite_fails_by_name(tmp_path):
    report = Blind(Recorded(last=0), "val/nelbo", maximize=False, interrupted=lambda: False, quiet=True)
    with pytest.raises(UserError, match="val/nelbo is nan after epoch 1"):
        trained(tmp_path, report)


def test_a_trial_that_is_interrupted_stops_as_by_ctrl_c(tmp_path):
    report = TrialReport(Recorded(last=0), "val/nelbo", maximize=False, interrupted=lambda: True, quiet=True)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, report)


# The best as an experiment.


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ("vae_digits", ["optimizer.lr=0.003", "latent=st_gumbel", "model.network.hidden=[16,8]"]),
        ("sbn_digits", ["temperature=linear", "temperature.minimum=0.2", "model/network=linear", "model.layers=3"]),
        ("sbn_mnist_bernoulli", ["data=digits", "optimizer=sgd", "optimizer.algorithm.momentum=0.5", "latent=disarm"]),
        ("vae_digits", ["logger=[csv,tensorboard]", "trainer=gpu", "trainer.gradient_clip_val=null", "seed=3"]),
        ("vae_digits", ["+trainer.limit_val_batches=2", "++trainer.max_epochs=7", "logger=[]", "paths.data_dir='a b'"]),
        ("vae_digits", ["+latent@callbacks.exactness.estimators.rloo=rloo", "temperature.period=${seed}"]),
        ("toy_exact", []),
    ],
)
def test_an_experiment_file_composes_to_what_its_words_do(experiment, words, tmp_path):
    (tmp_path / "experiment").mkdir()
    here = "paths.output_dir=here"
    with configurations():
        content, rest = as_experiment(words, experiment, "What it is.")
        (tmp_path / "experiment" / "best.yaml").write_text(content)
        wanted = compose("train", [f"experiment={experiment}", *words, here])
        composed = compose("train", ["experiment=best", f"hydra.searchpath=['file://{tmp_path}']", here])
    assert rest == []
    assert OmegaConf.to_container(composed) == OmegaConf.to_container(wanted)
    assert content.startswith("# @package _global_\n# What it is.\ndefaults:\n  - ")


def test_what_a_file_cannot_hold_stays_on_the_command_line():
    with configurations():
        words = ["~callbacks.pictures", "seed=1", "debug=one_batch", "hydra.job.name=x", "experiment=toy_exact"]
        content, rest = as_experiment(words, "toy_exact", "What it is.")
    assert rest == ["~callbacks.pictures", "debug=one_batch", "hydra.job.name=x"]
    assert content.endswith("defaults:\n  - toy_exact\n  - _self_\n\nseed: 1\n")


def test_no_lock_is_left_of_a_trial_that_ended(tmp_path):
    described = search(tmp_path)
    begun(open_study(described), described)
    assert not list(tmp_path.rglob("running.lock"))
    assert FileLock(tmp_path / "study.lock").acquire(timeout=0)
