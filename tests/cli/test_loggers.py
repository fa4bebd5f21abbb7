"""TensorBoard, read back by its own reader, and no logger at all; Weights & Biases is in test_wandb.py."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cli.conftest import SMALL

METRICS = {
    "train/relaxed_nelbo",
    "temperature",
    "images_per_second",
    "test/nll",
    *(
        f"{split}/{name}"
        for split in ("val", "test")
        for name in ("nelbo", "relaxed_nelbo", "reconstruction", "kl", "code_usage", "perplexity")
    ),
}
PICTURES = ("reconstructions", "samples", "classes", "code_use")


def test_tensorboard_has_every_metric_picture_and_histogram(command, tmp_path):
    outcome = command("train", *SMALL, "logger=[tensorboard]", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    guidance = {"images": 0, "histograms": 0}
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance=guidance).Reload()
    assert set(events.Tags()["scalars"]) >= METRICS
    assert set(events.Tags()["images"]) == {f"images/{name}" for name in PICTURES}
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert events.Scalars("test/nll")[-1].value == pytest.approx(results["metrics"]["test/nll"])
    assert [event.step for event in events.Scalars("val/nelbo")] == [12, 25]
    assert [event.step for event in events.Histograms("val/code_shares")] == [12, 25]
    for split in ("val", "test"):
        assert events.Histograms(f"{split}/code_shares")[-1].histogram_value.num == 3 * 4


def test_no_logger_at_all(command, tmp_path):
    outcome = command("train", "debug=one_batch", *SMALL, "logger=[]", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / "results.json").is_file()
    assert not (tmp_path / "run" / "metrics.csv").exists()
