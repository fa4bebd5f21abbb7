"""Images a second, by a clock that the test turns: training steps alone are counted."""

import csv

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.callbacks import Throughput, throughput
from discrete_latents.data import ImageData, digits
from discrete_latents.loggers.metrics_csv import MetricsCSV
from tests.helpers.fitting import quiet_trainer

IMAGES = 1297


class Clock(pl.Callback):
    """Turns the callback's clock: 2 seconds a training step, 1,000 for everything else that takes time in a run.
    Its hooks run after those of Throughput."""

    def __init__(self, monkeypatch):
        self.time = 0.0
        monkeypatch.setattr(throughput, "now", lambda device: self.time)

    def on_train_batch_end(self, *_):
        self.time += 2

    def slow(self, *_, **__):
        self.time += 1000

    setup = on_sanity_check_start = on_train_start = on_train_epoch_start = slow
    on_validation_start = on_validation_batch_end = on_validation_end = on_train_epoch_end = on_test_start = slow


class Line(pl.LightningModule):
    """A model that is quick to train."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return self.weight * batch[0].mean()

    def validation_step(self, batch, batch_idx):
        pass

    def test_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def data():
    data = ImageData("digits", digits, batch_size=200)
    data.setup()
    return data


def fit(data, monkeypatch, max_epochs=2, path=None, **settings):
    speed = Throughput()
    trainer = quiet_trainer(
        max_epochs=max_epochs,
        callbacks=[speed, Clock(monkeypatch)],
        logger=MetricsCSV(str(path)) if path else False,
        log_every_n_steps=1,
        **settings,
    )
    trainer.fit(Line(), data)
    return speed, trainer


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limit_val_batches": 0},
        {"num_sanity_val_steps": 0},
        {"check_val_every_n_epoch": 2},
        {"val_check_interval": 2},
        {"accumulate_grad_batches": 3},
    ],
    ids=str,
)
def test_only_the_time_of_training_steps_is_counted(data, monkeypatch, settings):
    speed, _ = fit(data, monkeypatch, **settings)
    assert speed.seconds == 2 * 7 * 2
    assert speed.images == 2 * IMAGES
    assert speed.images_per_second == IMAGES / (2 * 7)


def test_a_ragged_last_batch_counts_as_what_it_holds(data, monkeypatch):
    data.batch_size = 1000
    speed, _ = fit(data, monkeypatch, max_epochs=1)
    assert speed.images_per_second == IMAGES / (2 * 2)


def test_testing_afterwards_changes_nothing(data, monkeypatch):
    speed, trainer = fit(data, monkeypatch)
    trainer.test(trainer.lightning_module, data, verbose=False)
    assert speed.images_per_second == IMAGES / (2 * 7)


def test_every_epoch_logs_its_own_speed(data, monkeypatch, tmp_path):
    """The second epoch's steps take half the time."""

    class Faster(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.current_epoch == 1:
                clock.time -= 1

    path, speed, clock = tmp_path / "metrics.csv", Throughput(), Clock(monkeypatch)
    trainer = quiet_trainer(
        max_epochs=2,
        callbacks=[speed, clock, Faster()],
        logger=MetricsCSV(str(path)),
        log_every_n_steps=1,
    )
    trainer.fit(Line(), data)
    with path.open(newline="") as file:
        logged = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    assert logged == pytest.approx([IMAGES / 14, IMAGES / 7], rel=1e-6)
    assert speed.images_per_second == pytest.approx(2 * IMAGES / 21)


def test_without_training_there_is_no_speed():
    assert Throughput().images_per_second == 0


def test_the_real_clock_moves():
    start = throughput.now(torch.device("cpu"))
    assert throughput.now(torch.device("cpu")) > start
