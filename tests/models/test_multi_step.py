"""Several optimiser steps in a turn of Lightning's loop: the same run as with one, seen from anywhere."""

import itertools

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer

from discrete_latents.callbacks import TemperatureSchedule
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import Exponential, GumbelSoftmax
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization
from tests.helpers.fitting import quiet_trainer

BATCHES = 7
"""Of an epoch: 1,297 images."""


@pytest.fixture(scope="module")
def splits():
    return digits()


class Record(pl.Callback):
    """What a callback is told of batches and steps, and the state of training when it is told."""

    def __init__(self, saves=None):
        self.seen, self.turns, self.saves = [], 0, saves

    def note(self, hook, trainer, model, *batch):
        rate = trainer.optimizers[0].param_groups[0]["lr"] if hook == "before_optimizer_step" else None
        self.seen.append((hook, trainer.global_step, model.estimator.temperature().item(), rate, *batch))

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.note("batch_start", trainer, model, batch_idx, batch[0].sum().item())

    def on_before_optimizer_step(self, trainer, model, optimizer):
        self.note("before_optimizer_step", trainer, model)

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.note("batch_end", trainer, model, outputs["loss"].item())
        if self.saves is not None:
            trainer.save_checkpoint(self.saves / f"{trainer.global_step}.ckpt")

    def on_validation_start(self, trainer, model):
        self.note("validation", trainer, model)

    def on_train_epoch_end(self, trainer, model):
        self.note("epoch_end", trainer, model)


def fit(splits, steps_per_loop, callbacks=(), path=None, resume=None, **settings):
    torch.manual_seed(0)
    data = ImageData("digits", lambda: splits, "dynamic", batch_size=200)
    data.setup()
    model = CategoricalVAE(
        data.image_shape,
        num_latents=3,
        num_classes=4,
        network=MLP([10]),
        estimator=GumbelSoftmax(Exponential(rate=0.05)),
        likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam, lr=1e-2, hold=0.5),
    )
    trainer = quiet_trainer(
        callbacks=[TemperatureSchedule(), *callbacks],
        logger=MetricsCSV(str(path)) if path else False,
        num_sanity_val_steps=0,
        **{"max_epochs": 2, "log_every_n_steps": 3} | settings,
    )
    model.take_steps(steps_per_loop, trainer)
    turns = []
    step = model.training_step
    model.training_step = lambda *batch: turns.append(trainer.global_step) or step(*batch)
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer, dict(model.state_dict()), turns


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


LENGTHS = [
    {},
    {"max_epochs": -1, "max_steps": 9},
    {"val_check_interval": 3},
    {"val_check_interval": 5, "check_val_every_n_epoch": None},
    {"limit_train_batches": 5},
    {"check_val_every_n_epoch": 2},
    {"limit_val_batches": 0},
]


@pytest.mark.parametrize("steps_per_loop", [2, 3, 25])
@pytest.mark.parametrize("length", LENGTHS, ids=str)
def test_a_run_is_the_same_however_many_steps_a_turn_takes(splits, tmp_path, length, steps_per_loop):
    """To a callback, in metrics.csv and in its weights: bit for bit."""
    plain, turned = Record(), Record()
    trainer, weights, single = fit(splits, 1, [plain], tmp_path / "one.csv", **length)
    other, same, turns = fit(splits, steps_per_loop, [turned], tmp_path / "many.csv", **length)
    assert turned.seen == plain.seen
    assert (tmp_path / "many.csv").read_text() == (tmp_path / "one.csv").read_text()
    assert_same(same, weights)
    assert (other.global_step, other.current_epoch) == (trainer.global_step, trainer.current_epoch)
    assert single == list(range(trainer.global_step))
    assert len(turns) < len(single)
    assert max(after - before for before, after in itertools.pairwise(turns)) <= steps_per_loop


@pytest.mark.parametrize("steps_per_loop", [(1, 5), (5, 1), (5, 3)], ids=str)
def test_a_checkpoint_of_any_step_goes_on_with_any_number_of_steps_a_turn(splits, tmp_path, steps_per_loop):
    """Also one saved in the middle of a turn."""
    saving, resuming = steps_per_loop
    _, weights, _ = fit(splits, saving, [Record(saves=tmp_path)])
    for step in (2, 5, 6, 7, 8, 12):
        plain = Record()
        trainer, same, _ = fit(splits, resuming, [plain], resume=tmp_path / f"{step}.ckpt")
        assert trainer.global_step == 2 * BATCHES
        assert [seen[1] for seen in plain.seen if seen[0] == "batch_start"] == list(range(step, 2 * BATCHES))
        assert_same(same, weights)


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2},
        {"callbacks": [GradientAccumulationScheduler({0: 2})]},
    ],
    ids=["clipping", "accumulation", "scheduled accumulation"],
)
def test_what_lightning_does_to_gradients_is_left_to_it(splits, settings):
    _, weights, _ = fit(splits, 1, **settings)
    _, same, turns = fit(splits, 25, **settings)
    assert len(turns) == 2 * BATCHES
    assert_same(same, weights)
    _, other, _ = fit(splits, 25)
    assert any(not torch.equal(other[name], weights[name]) for name in weights)


class Stop(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop |= trainer.global_step == 3


def test_a_stop_ends_a_turn(splits):
    trainer, _, _ = fit(splits, 25, [Stop()])
    assert trainer.global_step == 4  # the step that follows is under way
    trainer, _, _ = fit(splits, 25, [Timer(duration={"seconds": 0})])
    assert trainer.global_step < BATCHES


def test_batches_of_another_loader_are_a_turn_each(splits):
    torch.manual_seed(0)
    images = splits.train.grey[:50] / 255
    batches = list(zip(images.split(10), splits.train.labels[:50].split(10), strict=True))
    loader = torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
    model = CategoricalVAE(
        tuple(images.shape[1:]), 2, 3, MLP([]), estimator=GumbelSoftmax(), likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam, lr=1e-2),
    )  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, log_every_n_steps=1, limit_val_batches=0,
    )  # fmt: skip
    model.take_steps(25, trainer)
    trainer.fit(model, loader, loader)
    assert trainer.global_step == 10


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_take_several_steps_too(splits, precision):
    _, weights, _ = fit(splits, 1, precision=precision)
    _, same, turns = fit(splits, 25, precision=precision)
    assert len(turns) == 2
    assert_same(same, weights)
