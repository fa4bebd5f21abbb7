"""Validation by a bound of many samples, which a checkpoint can be chosen by."""

import csv

import pytest

from discrete_latents.config.compose import composed
from discrete_latents.errors import UserError
from discrete_latents.training.train import train

NAMES = {"experiment": "vae_digits", "latent": "gumbel_softmax"}
SMALL = [
    *("model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]", "trainer.max_epochs=2"),
    *("eval_samples=2", "callbacks.pictures.every_n_epochs=0"),
]
BY_NLL = "callbacks.checkpoint.monitor=val/nll"


def rows(folder) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["val/nelbo"]]


def test_the_best_checkpoint_is_chosen_by_the_nll(tmp_path):
    """Its noise is its own: training and the other metrics stay as they are without it."""
    train(composed([*SMALL, f"paths.output_dir={tmp_path / 'a'}"]), NAMES)
    results = train(composed([*SMALL, f"paths.output_dir={tmp_path / 'b'}", "model.val_samples=5", BY_NLL]), NAMES)
    assert results["status"] == "completed"
    without, measured = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert [row["val/nelbo"] for row in measured] == [row["val/nelbo"] for row in without]
    assert all(float(row["val/nll"]) < float(row["val/nelbo"]) for row in measured)
    assert "val/nll" not in without[0]


def test_without_samples_there_is_no_such_metric(tmp_path):
    with pytest.raises(UserError, match="monitor must be a metric that validation logs, got 'val/nll'"):
        train(composed([*SMALL, f"paths.output_dir={tmp_path}", BY_NLL]), NAMES)


@pytest.mark.parametrize("samples", ["0", "many"])
def test_a_wrong_number_of_samples_is_refused(tmp_path, samples):
    with pytest.raises(UserError, match=r"model\.val_samples must be a whole number"):
        train(composed([*SMALL, f"paths.output_dir={tmp_path}", f"model.val_samples={samples}"]), NAMES)
