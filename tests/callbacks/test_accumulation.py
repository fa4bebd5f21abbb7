"""Under `trainer.accumulate_grad_batches`: what counts, logs, saves and follows optimiser steps, against the record of
every optimiser step that was really taken."""

import csv
import math
from collections import Counter

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.callbacks import Checkpoints, LearningRate, RunProgress, TemperatureSchedule, Throughput
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import Exponential, GumbelSoftmax
from discrete_latents.lightning_internals import use_fast_epoch_loop
from discrete_latents.loggers import MetricsCSV
from discrete_latents.optimization import LinearRate, Optimization
from tests.helpers.fitting import make_model, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")

IMAGES, EPOCHS = 1297, 2


class Steps(pl.Callback):
    """Of every optimiser step: its number, learning rate, temperature, and the batches that its gradient is of."""

    def __init__(self):
        self.steps, self.batches, self.saved, self.shown = [], 0, [], []

    def on_train_batch_start(self, trainer, model, *_):
        self.batches += 1
        self.now = (trainer.optimizers[0].param_groups[0]["lr"], model.estimator.temperature().item())

    def on_before_optimizer_step(self, trainer, model, optimizer):
        self.steps.append((trainer.global_step, *self.now, self.batches))
        self.batches = 0

    def on_save_checkpoint(self, trainer, model, checkpoint):
        self.saved.append((checkpoint["global_step"], self.batches))

    def on_train_batch_end(self, trainer, *_):
        bar = trainer.progress_bar_callback.progress
        bar.get_renderable()  # as at every drawing
        self.shown.append((bar.tasks[0].completed, bar.tasks[0].total, trainer.global_step))


CASES = [
    *((together, log_every, 1.0) for together in (1, 2, 3, 50) for log_every in (1, 3)),
    *((together, 2, validated) for together in (1, 3, 4, 7) for validated in (2, 5)),
]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("together", "log_every", "validated"), CASES)
def test_everything_goes_by_optimiser_steps(tmp_path, together, log_every, validated, fast):
    data = ImageData("digits", digits, batch_size=200, eval_batch_size=500)
    data.setup()
    model = make_model(GumbelSoftmax(Exponential(rate=0.05, period=1)))
    model.optimization = Optimization(torch.optim.Adam, lr=1e-2, schedule=LinearRate(0.5))
    steps, speed, path = Steps(), Throughput(), tmp_path / "metrics.csv"
    checkpoint = Checkpoints(every_n_steps=2, dirpath=tmp_path, filename="best", monitor="val/nelbo", save_last=True)
    trainer = quiet_trainer(
        max_epochs=EPOCHS,
        callbacks=[LearningRate(), TemperatureSchedule(), speed, RunProgress(), steps, checkpoint],
        logger=MetricsCSV(str(path)),
        enable_progress_bar=True,
        enable_checkpointing=True,
        accumulate_grad_batches=together,
        log_every_n_steps=log_every,
        val_check_interval=validated,
        num_sanity_val_steps=0,
    )
    if fast:
        use_fast_epoch_loop(trainer)
    trainer.fit(model, data)
    an_epoch = math.ceil(7 / together)
    total = EPOCHS * an_epoch
    assert [step for step, *_ in steps.steps] == list(range(total))
    assert sum(batches for *_, batches in steps.steps) == EPOCHS * 7
    for step, rate, temperature, _ in steps.steps:
        assert rate == pytest.approx(1e-2 * min(1, (1 - step / total) / 0.5))
        assert temperature == pytest.approx(max(math.exp(-0.05 * step), 0.5))
    with path.open(newline="") as file:
        logged = Counter(int(row["step"]) for row in csv.DictReader(file) if row.get("train/relaxed_nelbo"))
    assert logged == Counter(range(log_every - 1, total, log_every))
    assert {total for _, total, _ in steps.shown} == {total}
    assert all(completed <= step for completed, _, step in steps.shown)
    assert [completed for completed, *_ in steps.shown][-1] in (total - 1, total)  # its hook may be the later one
    assert speed.images == EPOCHS * IMAGES
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["global_step"] == total
    within = [step for step, batches in steps.saved if batches == 0]
    assert set(range(2, total, 2)) <= set(within)
    kept = [step for step, batches in steps.saved if batches]  # the best alone, of a validation between two steps
    assert bool(kept) <= (validated != 1.0)
