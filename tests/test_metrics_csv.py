"""metrics.csv: every logged value, at once, and one file over resumes."""

import csv
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.callbacks import TemperatureSchedule
from discrete_latents.data import ImageData, digits
from discrete_latents.latent import GumbelSoftmax
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.metrics_csv import MetricsCSV
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file, without their empty cells."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in rows), "a row longer or shorter than the header"
    return [{name: value for name, value in row.items() if value != ""} for row in rows]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "metrics.csv"


def test_nothing_is_written_before_something_is_logged(path):
    MetricsCSV(str(path))
    assert not path.parent.exists()


def test_a_row_is_in_the_file_as_soon_as_it_is_logged(path):
    logger = MetricsCSV(str(path))
    logger.log_metrics({"train/nelbo": 1.5}, 3)
    assert read(path) == [{"step": "3", "train/nelbo": "1.5"}]
    logger.log_metrics({"train/nelbo": 0.0}, 7)
    assert read(path) == [{"step": "3", "train/nelbo": "1.5"}, {"step": "7", "train/nelbo": "0.0"}]


def test_a_new_metric_makes_a_new_column_and_keeps_the_rows(path):
    logger = MetricsCSV(str(path))
    logger.log_metrics({"b": 1.0}, 0)
    logger.log_metrics({"a": 2.0}, 1)
    logger.log_metrics({"a": 3.0, "b": 4.0}, 2)
    logger.log_metrics({"b": 5.0}, 3)
    assert path.read_text().splitlines()[0] == "step,a,b"
    assert read(path) == [
        {"step": "0", "b": "1.0"},
        {"step": "1", "a": "2.0"},
        {"step": "2", "a": "3.0", "b": "4.0"},
        {"step": "3", "b": "5.0"},
    ]


def test_values_keep_all_their_digits(path):
    value = 1 / 3
    MetricsCSV(str(path)).log_metrics({"a": value}, 0)
    assert float(read(path)[0]["a"]) == value


def test_a_resumed_run_goes_on_in_the_same_file_and_replaces_what_it_repeats(path):
    killed = MetricsCSV(str(path))
    for step in range(6):
        killed.log_metrics({"a": float(step)}, step)
    resumed = MetricsCSV(str(path))
    resumed.log_metrics({"a": 40.0}, 4)
    resumed.log_metrics({"b": 50.0}, 5)
    expected = [{"step": str(step), "a": f"{step}.0"} for step in range(4)]
    assert read(path) == [*expected, {"step": "4", "a": "40.0"}, {"step": "5", "b": "50.0"}]


def test_a_resumed_run_that_logs_nothing_leaves_the_file_as_it_is(path):
    MetricsCSV(str(path)).log_metrics({"a": 1.0}, 0)
    before = path.read_bytes()
    MetricsCSV(str(path)).finalize("success")
    assert path.read_bytes() == before


def train(path, max_epochs, resume=None, callbacks=(), **settings):
    """Digits at three batches an epoch, every step logged."""
    torch.manual_seed(0)
    data = ImageData("digits", digits, batch_size=500)
    data.setup()
    model = CategoricalVAE(
        data.image_shape,
        num_latents=3,
        num_classes=4,
        network=MLP,
        hidden=[8],
        estimator=GumbelSoftmax(),
        likelihood=Bernoulli(),
        optimization=Optimization(partial(torch.optim.Adam, fused=True)),
        eval_samples=2,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        logger=MetricsCSV(str(path)),
        log_every_n_steps=1,
        callbacks=[TemperatureSchedule(), *callbacks],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer, model, data


def test_a_training_run_leaves_its_training_validation_and_test_rows(path):
    trainer, model, data = train(path, max_epochs=2)
    tested = trainer.test(model, data, verbose=False)[0]
    rows = read(path)
    assert [int(row["step"]) for row in rows if "train/relaxed_nelbo" in row] == list(range(6))
    assert [int(row["step"]) for row in rows if "val/nelbo" in row] == [2, 5]
    (test,) = [row for row in rows if "test/nelbo" in row]
    assert {name: float(value) for name, value in test.items() if name.startswith("test/")} == pytest.approx(tested)


class SaveWhen(pl.Callback):
    """Saves a checkpoint into a file, at a hook, when a number of steps is done."""

    def __init__(self, path, hook, step):
        self.path = path
        setattr(self, hook, lambda trainer, *_: trainer.global_step == step and trainer.save_checkpoint(self.path))


@pytest.mark.parametrize(
    ("hook", "step"),
    [("on_train_batch_end", 4), ("on_train_epoch_end", 3), ("on_train_epoch_end", 6), ("on_validation_end", 6)],
)
def test_a_resumed_run_has_the_rows_of_one_that_was_never_interrupted(hook, step, tmp_path):
    """Also those of a validation that was done before the checkpoint and is not done again."""
    settings = {"max_epochs": 4, "check_val_every_n_epoch": 2}
    train(tmp_path / "whole.csv", **settings)
    train(tmp_path / "parts.csv", callbacks=[SaveWhen(tmp_path / "x.ckpt", hook, step)], **settings)
    train(tmp_path / "parts.csv", resume=tmp_path / "x.ckpt", **settings)

    def where(rows):
        return [(row["step"], *sorted(row)) for row in rows]

    assert where(read(tmp_path / "parts.csv")) == where(read(tmp_path / "whole.csv"))
