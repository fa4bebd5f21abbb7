"""Images of one's own that cannot be right, on the command line: one line, exit code 1, and nothing is trained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from discrete_latents import load_run
from tests.cli.conftest import Outcome
from tests.cli.test_bad_inputs import assert_one_line
from tests.cli.test_errors import ONE

Arrays = dict[str, np.ndarray]
SSL = "experiment=ssl_digits model.num_classes=3 data.labelled=6 data.labelled_batch_size=6 model.labelled_batch_size=6"


@pytest.fixture
def arrays() -> Arrays:
    random = np.random.default_rng(0)
    made = {}
    for split, count in {"train": 40, "val": 12, "test": 10}.items():
        made[f"{split}_images"] = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        made[f"{split}_labels"] = np.arange(count) % 3
    return made


@pytest.fixture
def trained(command, arrays, tmp_path) -> Callable[..., Outcome]:
    """Gives `trained(*words)`, a run on the arrays as they are by then."""

    def call(*words: str) -> Outcome:
        folder = tmp_path / "mine"
        folder.mkdir()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
        outcome = command("train", "data=arrays", f"data.source.folder={folder}", *words, ONE)
        assert {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before
        return outcome

    return call


def left(folder: Path) -> set[str]:
    """What a run left besides its settings and its log."""
    return {"checkpoints", "images", "metrics.csv", "results.json"} & {path.name for path in folder.rglob("*")}


FAULTS = {
    "val images of 0 and 1": ("", "val_images", lambda x: x % 2, "val images must be grey values from 0 to 255"),
    "test images of floats to 255": (
        "",
        "test_images",
        lambda x: x / 1,
        "test images must be grey values, uint8 or in",
    ),
    "train images of NaN": (
        "",
        "train_images",
        lambda x: x / np.nan,
        "train images must be finite numbers, got NaN (2",
    ),
    "channels last": ("", "train_images", lambda x: np.stack([x] * 3, -1), "train_images.npy must have their channels"),
    "test images of another size": ("", "test_images", lambda x: x[:, 1:], "test images must be (1, 8, 8) each"),
    "no val images": ("", "val_images", lambda x: x[:0], "val_images.npy must be at least one image"),
    "float labels": ("", "test_labels", lambda y: y / 1, "test_labels.npy must be 10 whole numbers"),
    "a label of -1": (SSL, "test_labels", lambda y: y - 1, "test labels must be classes from 0 on, got -1"),
    "test labels beyond the classes": (SSL, "test_labels", lambda y: y + 1, "model.num_classes must be at least the 4"),
    "val labels beyond the classes": (SSL, "val_labels", lambda y: y + 7, "got 3: the val labels go up to 9"),
    "more labelled images than there are": (
        f"{SSL} data.labelled=60",
        "train_labels",
        lambda y: y,
        "data.labelled must",
    ),
    "too few unlabelled images": (f"{SSL} data.labelled=40", "train_labels", lambda y: y * 0, "must be below the 40"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_data_that_cannot_be_right_is_one_line_before_anything_is_trained(trained, arrays, tmp_path, fault):
    words, name, change, said = FAULTS[fault]
    arrays[name] = change(arrays[name])
    assert_one_line(trained(*words.split()), "data.", said)
    assert not left(tmp_path)


STANDARDISED = {
    "": "data.binarization must be null for data that are not grey values, got dynamic: x is real numbers (",
    "data.binarization=null": "model.likelihood: Bernoulli takes grey values in [0, 1], got real",
    "data.binarization=null model/likelihood=poisson": "model.likelihood: Poisson takes whole numbers from 0, got real",
}


@pytest.mark.parametrize("words", STANDARDISED)
def test_a_likelihood_of_other_data_is_one_line_before_anything_is_trained(trained, arrays, tmp_path, words):
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = (arrays[f"{split}_images"] - 127.5) / 74
    assert_one_line(trained(*words.split()), "data.", STANDARDISED[words])
    assert not left(tmp_path)


KINDS = {
    "floats in [0, 1]": ("", lambda x: x / 255),
    "standardised vectors": (
        "data.binarization=null model/likelihood=gaussian",
        lambda x: (x.reshape(len(x), -1) - 127.5) / 74,
    ),
    "classes": (
        "data.binarization=null model/likelihood=categorical model.likelihood.categories=16 model/network=cnn",
        lambda x: (x // 16).astype(np.int64),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_other_kinds_train_test_again_and_load(trained, command, arrays, tmp_path, kind):
    words, change = KINDS[kind]
    grey = arrays["test_images"]
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = change(arrays[f"{split}_images"])
    outcome = trained(*words.split(), "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert left(tmp_path) >= {"results.json", "images"}
    evaluated = command("eval", "run=run")
    assert evaluated.code == 0, evaluated.err
    codes = load_run(tmp_path / "run").encode(change(grey))
    assert codes.shape == (10, 20)
    if kind == "floats in [0, 1]":
        assert torch.equal(codes, load_run(tmp_path / "run").encode(grey))
    else:
        with pytest.raises(ValueError, match=r"^(vectors|images) must be "):
            load_run(tmp_path / "run").encode(change(grey) * np.nan)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_labels_are_missed_where_the_model_learns_from_them(trained, arrays, tmp_path, split):
    del arrays[f"{split}_labels"]
    assert_one_line(trained(*SSL.split()), f"{split} images", f"{split}_labels.npy is missing")
    assert not left(tmp_path)


@pytest.mark.parametrize(("words", "count"), [("", 1), (SSL, 7)])
def test_processes_without_an_image_are_refused(trained, arrays, tmp_path, words, count):
    arrays |= {name: array[:count] for name, array in arrays.items() if name.startswith("train")}
    outcome = trained(*words.split(), "trainer=ddp_sim")
    assert outcome.code == 1
    assert "error: trainer.devices must be at most the 1 images that an epoch shares out, got 2\n" in outcome.err
    assert not left(tmp_path)


def test_a_model_that_uses_no_labels_trains_without_them(trained, arrays, tmp_path):
    for split in ("train", "val", "test"):
        del arrays[f"{split}_labels"]
    outcome = trained()
    assert outcome.code == 0, outcome.err
    assert left(tmp_path) >= {"results.json"}


def test_a_semi_supervised_model_takes_classes_with_gaps(trained, arrays, tmp_path):
    for split in ("train", "val", "test"):
        arrays[f"{split}_labels"] = np.array([0, 2, 5])[arrays[f"{split}_labels"]]
    outcome = trained(*SSL.replace("num_classes=3", "num_classes=6").split())
    assert outcome.code == 0, outcome.err
    assert left(tmp_path) >= {"results.json"}


def test_images_that_two_splits_share_are_a_warning_and_the_run_goes_on(trained, arrays, tmp_path):
    arrays["test_images"][:4] = arrays["train_images"][:4]
    outcome = trained()
    assert outcome.code == 0, outcome.err
    assert "data.name = arrays: 4 of the 10 test images are in the train split, too" in outcome.err
    assert left(tmp_path) >= {"results.json"}
