"""Whatever fails after a test, the results stand: results.json has every metric, one line says what failed, and
train.log has the traceback. Before that, a mistake is said before training."""

import errno
import json
import logging

import lightning.pytorch as pl
import numpy as np
import pytest
from lightning.pytorch.loggers import Logger

from discrete_latents.callbacks import Pictures, pictures
from discrete_latents.config.compose import composed
from discrete_latents.models import CategoricalVAE
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.evaluate import evaluate
from discrete_latents.training.train import train
from tests.helpers.tables import one_in, rest_is_slow

NAMES = {"experiment": "x", "latent": "y"}
SMALL = [
    *("model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]", "trainer.max_epochs=1"),
    *("eval_samples=5", "~callbacks.progress"),
]


def configured(folder, *words):
    return composed([*SMALL, f"paths.output_dir={folder}", *words])


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The metrics of a run in which nothing fails."""
    return train(configured(tmp_path_factory.mktemp("whole") / "run"), NAMES)["metrics"]


class Failing(pl.Callback):
    """Raises in one hook, once there is a test."""

    def __init__(self, hook, error):
        def act(trainer, *_, **__):
            if trainer.state.fn == "test":
                raise error

        setattr(self, hook, act)


class FailingLogger(Logger):
    """Raises in `finalize`, as one whose server is gone."""

    name = version = "failing"

    def log_metrics(self, *_, **__): ...

    def log_hyperparams(self, *_, **__): ...

    def finalize(self, status):
        raise ConnectionError("no server\nat all")


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def broken(*_, **__):
    raise ValueError("a figure of nothing\nat all")


FAILURES = {
    "a callback's on_test_end": lambda patch: [Failing("on_test_end", ZeroDivisionError("nothing"))],
    "a callback's teardown": lambda patch: [Failing("teardown", KeyError("nothing"))],
    "a callback without words": lambda patch: [Failing("on_test_end", RuntimeError())],
    "a full disk at pictures": lambda patch: patch.setattr(pictures, "atomic_write", full),
    "a figure": lambda patch: patch.setattr(CategoricalVAE, "figures", broken),
    "pictures of the test images": lambda patch: patch.setattr(Pictures, "write", broken),
    "a logger of pictures": lambda patch: patch.setattr(pictures, "log_pictures", broken),
    "a logger's end": lambda patch: None,
}


@pytest.mark.parametrize("what", one_in(3, list(FAILURES)))
def test_results_stand_whatever_fails_after_the_test(tmp_path, monkeypatch, caplog, expected, what):
    words = ["+logger.failing._target_=tests.training.test_outcome.FailingLogger"] if what == "a logger's end" else []
    if words:  # Lightning ends loggers after training as well
        monkeypatch.setattr(pl.Trainer, "fit", quietly(pl.Trainer.fit))
    callbacks = FAILURES[what](monkeypatch) or []
    with caplog.at_level(logging.WARNING, "discrete_latents"):
        results = train(configured(tmp_path / "run", *words), NAMES, callbacks=callbacks)
    run = RunDirectory(tmp_path / "run")
    assert results["metrics"] == expected
    assert run.read_results() == json.loads(json.dumps(results))
    assert results["status"] == "completed"
    assert results["checkpoint"] == "checkpoints/best.ckpt"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in said
    assert ("a picture cannot be drawn" if what == "a figure" else str(run.results)) in said
    assert "Traceback (most recent call last)" in run.log.read_text()


def quietly(fit):
    def without_end(self, *arguments, **named):
        finalize, FailingLogger.finalize = FailingLogger.finalize, lambda *_: None
        try:
            return fit(self, *arguments, **named)
        finally:
            FailingLogger.finalize = finalize

    return without_end


def test_an_evaluation_stands_as_well(tmp_path, monkeypatch, caplog, expected):
    train(configured(tmp_path / "run"), NAMES)
    monkeypatch.setattr(pictures, "atomic_write", full)
    run = RunDirectory(tmp_path / "run")
    results = evaluate(configured(tmp_path / "run" / "evaluations" / "a"), run, "best", "test", NAMES)
    assert results["metrics"] == expected
    assert run.evaluation("a").read_results()["metrics"] == expected
    assert "No space left" in caplog.text


@pytest.mark.parametrize("hook", rest_is_slow(["on_test_batch_end", "on_test_epoch_end", "on_test_start"], 1))
def test_what_fails_before_there_are_metrics_is_a_failure(tmp_path, hook):
    with pytest.raises(ZeroDivisionError):
        train(configured(tmp_path / "run"), NAMES, callbacks=[Failing(hook, ZeroDivisionError())])
    assert not RunDirectory(tmp_path / "run").results.exists()


def test_a_run_stopped_by_hand_after_its_test_still_stops(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(configured(tmp_path / "run"), NAMES, callbacks=[Failing("on_test_end", KeyboardInterrupt())])
    assert RunDirectory(tmp_path / "run").read_results()["status"] == "completed"


def test_pictures_that_cannot_be_drawn_are_said_before_training_and_cost_nothing(
    tmp_path, monkeypatch, caplog, expected
):
    said = []
    step = CategoricalVAE.training_step
    monkeypatch.setattr(CategoricalVAE, "pictures", broken)
    monkeypatch.setattr(CategoricalVAE, "training_step", lambda *given: said.append(caplog.text) or step(*given))
    results = train(configured(tmp_path / "run"), NAMES)
    assert "a figure of nothing" in said[0]
    assert "Traceback" in RunDirectory(tmp_path / "run").log.read_text()
    assert results["metrics"] == expected


@pytest.mark.parametrize("channels", rest_is_slow([5, 1, 2, 3, 4], 1))
def test_images_of_any_number_of_channels_are_drawn(tmp_path, channels):
    for split in ("train", "val", "test"):
        images = np.random.default_rng(0).integers(0, 256, (30, 8, 6, channels), dtype=np.uint8)
        np.save(tmp_path / f"{split}_images.npy", np.moveaxis(images, -1, 1) if channels != 1 else images[..., 0])
    config = configured(
        tmp_path / "run", "data=arrays", f"data.source.folder={tmp_path}", "trainer.log_every_n_steps=1"
    )
    results = train(config, NAMES)
    assert results["status"] == "completed"
    assert {path.stem for path in RunDirectory(tmp_path / "run").images.glob("*.png")} >= {"samples"}
