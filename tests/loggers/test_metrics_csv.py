"""metrics.csv: every logged value, at once, and one file over resumes."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch

from discrete_latents.callbacks import TemperatureSchedule
from discrete_latents.data import ImageData, digits
from discrete_latents.errors import UserError
from discrete_latents.latent import GumbelSoftmax
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.loggers.metrics_csv import MetricsCSV
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization
from tests.helpers.fitting import quiet_trainer


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
    before = path.read_bytes()
    resumed = MetricsCSV(str(path))
    resumed.continue_after(4)
    assert path.read_bytes() == before
    resumed.log_metrics({"a": 40.0}, 4)
    resumed.log_metrics({"b": 50.0}, 5)
    expected = [{"step": str(step), "a": f"{step}.0"} for step in range(4)]
    assert read(path) == [*expected, {"step": "4", "a": "40.0"}, {"step": "5", "b": "50.0"}]


def test_the_test_of_a_shorter_run_stays_and_one_that_is_repeated_does_not(path):
    finished = MetricsCSV(str(path))
    finished.log_metrics({"a": 1.0}, 3)
    finished.log_metrics({"test/a": 2.0}, 4)
    longer, repeated = path.read_bytes() + b"7,9.0,\n", path.read_bytes()
    for metrics, step, expected in (({"a": 9.0}, 7, longer), ({"test/a": 2.0}, 4, repeated)):
        path.write_bytes(repeated)
        resumed = MetricsCSV(str(path))
        resumed.continue_after(1)
        resumed.log_metrics(metrics, step)
        assert path.read_bytes().replace(b"\r", b"") == expected.replace(b"\r", b"")


def test_a_kill_while_the_columns_change_loses_no_row(path, monkeypatch):
    logger = MetricsCSV(str(path))
    logger.log_metrics({"a": 1.0}, 0)
    before = path.read_bytes()
    monkeypatch.setattr("csv.DictWriter.writerows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        logger.log_metrics({"b": 1.0}, 1)
    assert path.read_bytes() == before


def test_a_resumed_run_that_logs_nothing_leaves_the_file_as_it_is(path):
    MetricsCSV(str(path)).log_metrics({"a": 1.0}, 0)
    before = path.read_bytes()
    MetricsCSV(str(path)).finalize("success")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"notes\n", b"a,b\n1,2\n", b"step,a\n1,2,3\n", b"\xff\xfe\0"], ids=repr)
def test_a_file_that_is_no_such_table_is_refused_and_stays(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for use in (lambda log: log.log_metrics({"a": 1.0}, 0), lambda log: log.continue_after(1), MetricsCSV.count):
        with pytest.raises(UserError, match="is not a table of metrics"):
            use(MetricsCSV(str(path)))
    assert path.read_bytes() == content


def train(path, max_epochs):
    """Digits at three batches an epoch, every step logged."""
    torch.manual_seed(0)
    data = ImageData("digits", digits, batch_size=500)
    data.setup()
    model = CategoricalVAE(
        data.image_shape,
        num_latents=3,
        num_classes=4,
        network=MLP([8]),
        estimator=GumbelSoftmax(),
        likelihood=Bernoulli(),
        optimization=Optimization(partial(torch.optim.Adam, fused=True)),
        eval_samples=2,
    )
    trainer = quiet_trainer(
        max_epochs=max_epochs,
        logger=MetricsCSV(str(path)),
        log_every_n_steps=1,
        callbacks=[TemperatureSchedule()],
    )
    trainer.fit(model, data)
    return trainer, model, data


def test_a_training_run_leaves_its_training_validation_and_test_rows(path):
    trainer, model, data = train(path, max_epochs=2)
    tested = trainer.test(model, data, verbose=False)[0]
    rows = read(path)
    assert [int(row["step"]) for row in rows if "train/relaxed_nelbo" in row] == list(range(6))
    assert [int(row["step"]) for row in rows if "val/nelbo" in row] == [2, 5]
    (test,) = [row for row in rows if "test/nelbo" in row]
    assert {name: float(value) for name, value in test.items() if name.startswith("test/")} == pytest.approx(tested)
