"""The average of the weights is the one that its formula says, of the weights that training had."""

import jaxtyping
import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.callbacks import WeightAverage
from discrete_latents.data import ImageData, digits
from discrete_latents.errors import UserError
from discrete_latents.latent import GumbelSoftmax
from discrete_latents.lightning_internals import use_fast_epoch_loop
from tests.helpers.fitting import make_model, quiet_trainer

STEPS = 8


class Record(pl.Callback):
    """The weights after each step, and those that each validation has."""

    def __init__(self):
        self.trained, self.validated = [], []

    def on_train_batch_end(self, trainer, module, *_):
        self.trained.append(module.prior_logits.detach().clone())

    def on_validation_batch_start(self, trainer, module, *_):
        self.validated.append(module.prior_logits.detach().clone())


def fit(callback, fast=True, **settings):
    torch.manual_seed(0)
    record, model = Record(), make_model(GumbelSoftmax())
    trainer = quiet_trainer(
        **{"max_epochs": 2, "limit_train_batches": STEPS // 2, "num_sanity_val_steps": 0} | settings,
        callbacks=[callback, record],
    )
    if fast:
        use_fast_epoch_loop(trainer)
    trainer.fit(model, datamodule=ImageData("digits", digits))
    return record, model.prior_logits.detach()


def moving(weights, decay):
    average = weights[0]
    for count, value in enumerate(weights[1:], 1):
        keep = min(decay, (1 + count) / (10 + count))
        average = keep * average + (1 - keep) * value
    return average


@pytest.mark.parametrize("fast", [False, True])
def test_a_moving_average_is_validated_and_left(fast):
    record, end = fit(WeightAverage(decay=0.3), fast)
    assert len(record.trained) == STEPS
    for validated, steps in zip(record.validated, (STEPS // 2, STEPS), strict=True):
        assert torch.allclose(validated, moving(record.trained[:steps], 0.3), atol=1e-6)
        assert not torch.allclose(validated, record.trained[steps - 1], atol=1e-6)
    assert torch.equal(end, record.validated[-1])


def test_training_goes_on_from_its_own_weights():
    plain, _ = fit(WeightAverage(start=0.99))  # never begins
    averaged, _ = fit(WeightAverage(decay=0.5))
    assert all(map(torch.equal, plain.trained, averaged.trained))


@pytest.mark.parametrize("start", [0.0, 0.5, 0.75])
def test_a_plain_average_begins_where_it_is_to(start):
    record, end = fit(WeightAverage(decay=None, start=start))
    first = int(start * STEPS)
    assert torch.allclose(end, torch.stack(record.trained[first:]).mean(0), atol=1e-6)
    if first >= STEPS // 2:
        assert torch.equal(record.validated[0], record.trained[STEPS // 2 - 1])


def test_every_so_many_steps():
    record, end = fit(WeightAverage(decay=None, every_n_steps=3))
    assert torch.allclose(end, torch.stack(record.trained[::3]).mean(0), atol=1e-6)


def test_steps_of_several_batches_count_once():
    record, end = fit(WeightAverage(decay=None), accumulate_grad_batches=2)
    assert torch.allclose(end, torch.stack(record.trained[1::2]).mean(0), atol=1e-6)


def test_without_an_end_it_begins_at_once():
    with pytest.raises(UserError, match="start of a WeightAverage must be 0"):
        fit(WeightAverage(start=0.5), max_epochs=-1, max_time={"seconds": 30})


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("decay", value) for value in (1.0, -0.1, "0.9", True)), ("start", 1.0), ("start", None), ("every_n_steps", 0)],
)
def test_a_value_that_makes_no_average_is_refused(monkeypatch, name, value):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got"):
        WeightAverage(**{name: value})
