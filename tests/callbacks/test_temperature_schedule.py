"""The temperature over a run: a function of the global step alone."""

import csv

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.callbacks import TemperatureSchedule
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import Constant, Exact, Exponential, GumbelSoftmax, Learned, STGumbel
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization
from tests.helpers.fitting import quiet_trainer

STEPS = 3
"""Batches of an epoch."""


def schedule(period=1):
    return Exponential(start=1.0, minimum=0.2, rate=0.1, period=period)


class Record(pl.Callback):
    """What τ is when a batch has been trained on or is evaluated, after how many optimiser steps."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_end(self, trainer, model, *_):
        self.trained.append(model.estimator.temperature().item())

    def on_validation_batch_end(self, trainer, model, *_):
        self.validated.append((trainer.global_step, model.estimator.temperature().item()))


def fit(estimator, max_epochs=3, callbacks=(), path=None, resume=None, **settings):
    torch.manual_seed(0)
    data = ImageData("digits", digits, batch_size=500, eval_batch_size=100)
    data.setup()
    model = CategoricalVAE(
        data.image_shape,
        num_latents=2,
        num_classes=3,
        network=MLP([]),
        estimator=estimator,
        likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam, lr=0.05),
        eval_samples=1,
    )
    trainer = quiet_trainer(
        max_epochs=max_epochs,
        callbacks=[TemperatureSchedule(), *callbacks],
        logger=MetricsCSV(str(path)) if path else False,
        log_every_n_steps=1,
        **settings,
    )
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer, model


@pytest.mark.parametrize("period", [1, 2, 4])
def test_it_follows_the_schedule_over_epochs_that_do_not_reset_it(period):
    record = Record()
    fit(GumbelSoftmax(schedule(period)), callbacks=[record])
    assert record.trained == pytest.approx([schedule(period).at(step) for step in range(3 * STEPS)])
    assert len(set(record.trained)) == -(-3 * STEPS // period)


def test_it_counts_optimiser_steps_and_not_batches():
    record = Record()
    fit(GumbelSoftmax(schedule()), max_epochs=2, callbacks=[record], accumulate_grad_batches=3)
    assert record.trained == pytest.approx([schedule().at(0)] * STEPS + [schedule().at(1)] * STEPS)


def test_validation_and_testing_leave_it_as_the_last_training_step_had_it():
    record = Record()
    trainer, model = fit(GumbelSoftmax(schedule()), callbacks=[record], val_check_interval=1)
    assert len(record.validated) == 3 * 3 * STEPS + 2  # 2 batches of the check before training
    assert record.validated[2:] == [
        (step, pytest.approx(schedule().at(step - 1))) for step in range(1, 3 * STEPS + 1) for _ in range(3)
    ]
    trainer.validate(model, trainer.datamodule, verbose=False)
    trainer.test(model, trainer.datamodule, verbose=False)
    assert model.estimator.temperature().item() == pytest.approx(schedule().at(3 * STEPS - 1))


class SaveAt(pl.Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("step", [STEPS, STEPS + 1])
def test_a_resumed_run_goes_on_with_the_temperature_of_its_step(tmp_path, step):
    fit(GumbelSoftmax(schedule()), callbacks=[SaveAt(tmp_path / "x.ckpt", step)])
    record = Record()
    fit(GumbelSoftmax(schedule()), callbacks=[record], resume=tmp_path / "x.ckpt")
    assert record.trained == pytest.approx([schedule().at(done) for done in range(step, 3 * STEPS)])


def logged(path):
    with path.open(newline="") as file:
        return [(int(row["step"]), float(row["temperature"])) for row in csv.DictReader(file) if row["temperature"]]


def test_it_is_logged_once_an_epoch_as_the_last_step_had_it(tmp_path):
    fit(GumbelSoftmax(schedule()), path=tmp_path / "metrics.csv")
    last_steps = [STEPS - 1, 2 * STEPS - 1, 3 * STEPS - 1]
    assert logged(tmp_path / "metrics.csv") == [(step, pytest.approx(schedule().at(step))) for step in last_steps]


def test_a_constant_temperature_stays_and_is_logged(tmp_path):
    fit(STGumbel(Constant(0.7)), path=tmp_path / "metrics.csv")
    assert [value for _, value in logged(tmp_path / "metrics.csv")] == pytest.approx([0.7] * 3)


def test_a_learned_temperature_is_moved_by_the_optimiser_alone(tmp_path):
    record = Record()
    _, model = fit(GumbelSoftmax(Learned(start=1.0, minimum=0.1)), callbacks=[record], path=tmp_path / "metrics.csv")
    assert len(set(record.trained)) == 3 * STEPS
    ends = [record.trained[epoch * STEPS - 1] for epoch in (1, 2, 3)]
    assert [value for _, value in logged(tmp_path / "metrics.csv")] == pytest.approx(ends)
    assert model.estimator.temperature().item() == record.trained[-1]


def test_an_estimator_without_a_temperature_is_trained_all_the_same():
    trainer, _ = fit(Exact(), max_epochs=1)
    assert trainer.global_step == STEPS
    assert "temperature" not in trainer.callback_metrics
