"""A run stopped anywhere and resumed from last.ckpt: the weights and the rows of one that was never stopped."""

import csv
import math
import os
import shutil
import signal
import warnings
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from discrete_latents.callbacks import Checkpoints, LearningRate, TemperatureSchedule
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import Exponential, GumbelSoftmax
from discrete_latents.lightning_internals import use_exact_loops, use_fast_epoch_loop
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import LinearRate, Optimization
from tests.helpers.tables import rest_is_slow

STEPS = 3 * 4
"""Three epochs of 1,297 images."""

HOOKS = [
    *("on_train_batch_start", "on_before_zero_grad", "on_before_optimizer_step", "on_train_batch_end"),
    *("on_train_epoch_start", "on_train_epoch_end", "on_validation_start", "on_validation_batch_end"),
    *("on_validation_epoch_end", "on_validation_end", "on_save_checkpoint", "on_train_end"),
]


class Interruption(pl.Callback):
    """Counts the calls of hooks, and does something at one of them."""

    def __init__(self, at: int = -1, act=lambda: None) -> None:
        self.calls: list[str] = []
        for hook in HOOKS:

            def note(*_, hook=hook):
                self.calls.append(hook)
                if len(self.calls) == at + 1:
                    act()

            setattr(self, hook, note)


class Killed(BaseException):
    """Ends a fit as SIGKILL would: nothing is saved because of it."""


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def splits():
    return digits()


def fit(splits, folder: Path, interruption, every_n_steps=None, fast=True, hold=0.5, **settings):
    """Trains in a folder, from its last checkpoint where it has one, for as long as it goes."""
    torch.manual_seed(0)
    data = ImageData("digits", lambda: splits, "dynamic", batch_size=400, eval_batch_size=125)
    data.setup()
    optimization = Optimization(torch.optim.Adam, lr=0.1, schedule=LinearRate(hold))
    estimator = GumbelSoftmax(Exponential(rate=0.05))
    model = CategoricalVAE(
        data.image_shape, 3, 4, MLP([8]), estimator=estimator, likelihood=Bernoulli(), optimization=optimization
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[
            LearningRate(),
            TemperatureSchedule(),
            interruption,
            Checkpoints(
                every_n_steps, dirpath=folder, filename="best", monitor="val/nelbo", save_last=True,
                enable_version_counter=False,
            ),
        ],
        logger=MetricsCSV(str(folder / "metrics.csv")),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"max_epochs": 3, "log_every_n_steps": 3} | settings,
    )  # fmt: skip
    use_exact_loops(trainer)
    if fast:
        use_fast_epoch_loop(trainer)
    last = folder / "last.ckpt"
    if not last.is_file():  # killed before there was one: it starts again
        shutil.rmtree(folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*could not find the monitored key.*")  # without validation
        trainer.fit(model, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    return trainer, dict(model.state_dict())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("first", rest_is_slow([5, 7, 4, 6], 2))
@pytest.mark.parametrize("settings", rest_is_slow([{"val_check_interval": 2}, {}], 1), ids=str)
def test_max_steps_can_be_raised_from_within_an_epoch(splits, tmp_path, first, fast, settings):
    settings |= {"fast": fast, "hold": 1.0}  # no rate that depends on how long training is
    _, expected = fit(splits, tmp_path / "straight", Interruption(), **settings)
    fit(splits, tmp_path / "raised", Interruption(), **settings, max_steps=first)
    trainer, weights = fit(splits, tmp_path / "raised", Interruption(), **settings)
    assert trainer.global_step == STEPS
    assert_same((None, None, tmp_path / "straight", expected), tmp_path / "raised", weights, first)


STOPS = [
    ({"every_n_steps": 2}, "one of each"),
    *(
        pytest.param((settings, "every other"), marks=pytest.mark.slow)
        for settings in (
            {"every_n_steps": 1},
            {"check_val_every_n_epoch": 2, "every_n_steps": 3},
            {"val_check_interval": 2, "fast": False},
            {"limit_val_batches": 0, "every_n_steps": 3},
            {"accumulate_grad_batches": 2, "every_n_steps": 1},
        )
    ),
    ({"accumulate_grad_batches": 3, "every_n_steps": 1, "val_check_interval": 2}, "one of each"),
]
"""Settings, and at which hooks to stop."""


@pytest.fixture(scope="module", params=STOPS, ids=str)
def undisturbed(request, splits, tmp_path_factory):
    """Settings, and, of a run with them that is not stopped, the hooks to stop at, its folder and its weights."""
    settings, stops = request.param
    folder = tmp_path_factory.mktemp("undisturbed")
    hooks = Interruption()
    trainer, weights = fit(splits, folder, hooks, **settings)
    assert trainer.global_step == STEPS // 4 * math.ceil(4 / settings.get("accumulate_grad_batches", 1))
    calls = list(enumerate(hooks.calls))[::2]
    if stops == "one of each":  # in the middle of the run
        calls = {hook: (number, hook) for number, hook in enumerate(hooks.calls[: 2 * len(hooks.calls) // 3])}.values()
    return settings, calls, folder, weights


def assert_same(undisturbed, folder, weights, context):
    _, _, straight, expected = undisturbed
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == [], context
    assert rows(folder) == rows(straight), context
    for name in ("best.ckpt", "last.ckpt"):
        if not (straight / name).is_file():
            assert not (folder / name).is_file()
            continue
        one, other = (torch.load(path / name, weights_only=True) for path in (folder, straight))
        assert one["global_step"] == other["global_step"], (name, context)
        assert all(torch.equal(one["state_dict"][key], value) for key, value in other["state_dict"].items()), context


def test_a_run_killed_at_any_hook_ends_as_one_that_was_not(undisturbed, splits, tmp_path):
    settings, stops, _, _ = undisturbed
    for number, hook in stops:
        folder = tmp_path / str(number)
        with pytest.raises(Killed):
            fit(splits, folder, Interruption(number, kill), **settings)
        _, weights = fit(splits, folder, Interruption(), **settings)
        assert_same(undisturbed, folder, weights, (number, hook))


def test_a_run_that_sigterm_stops_at_any_hook_loses_nothing_and_ends_as_one_that_was_not(undisturbed, splits, tmp_path):
    settings, stops, _, _ = undisturbed
    for number, hook in stops:
        folder = tmp_path / str(number)
        if hook == "on_train_end":
            continue
        stopped = Interruption(number, terminate)
        with pytest.raises(SIGTERMException):
            fit(splits, folder, stopped, **settings)
        steps = stopped.calls.count("on_before_optimizer_step")
        assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == steps, (number, hook)
        _, weights = fit(splits, folder, Interruption(), **settings)
        assert_same(undisturbed, folder, weights, (number, hook))
