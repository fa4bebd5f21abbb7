"""Burda's Omniglot, from a small file of the same format, and what is said of a file that is none."""

import io
import logging
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from discrete_latents.data import ImageData, omniglot
from discrete_latents.data.omniglot_file import VALIDATION

TRAIN, TEST = VALIDATION + 5, 3


def content(**changed: object) -> dict[str, object]:
    """Images whose pixel (row 1, column 2) is on, and one alphabet after the other."""
    made: dict[str, object] = {}
    for prefix, count in (("", TRAIN), ("test", TEST)):
        grey = np.zeros((784, count))
        grey[2 * 28 + 1] = np.linspace(0, 1, count) if prefix else np.linspace(1, 0, count)
        made |= {f"{prefix}data": grey, f"{prefix}target": np.eye(50)[:, np.arange(count) % 50]}
    return {name: value for name, value in (made | changed).items() if value is not None}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "omniglot").mkdir()
    return tmp_path / "omniglot" / "chardata.mat"


def test_images_stand_upright_and_the_last_training_images_are_for_validation(place: Path, tmp_path: Path):
    savemat(place, content())
    splits = omniglot(str(tmp_path))
    assert [len(split.x) for split in splits] == [TRAIN - VALIDATION, VALIDATION, TEST]
    assert splits.test.x.dtype == torch.uint8
    assert splits.test.x.nonzero().tolist() == [[1, 0, 1, 2], [2, 0, 1, 2]]
    assert splits.test.x[:, 0, 1, 2].tolist() == [0, 128, 255]
    assert splits.test.labels is not None
    assert splits.test.labels.tolist() == [0, 1, 2]
    assert splits.val.labels is not None
    assert splits.val.labels[0] == (TRAIN - VALIDATION) % 50
    data = ImageData("omniglot", lambda: splits)
    data.setup()
    assert next(iter(data.train_dataloader()))[0].shape == (TRAIN - VALIDATION, 1, 28, 28)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": None}, "must hold data, target, testdata, testtarget; missing: target$"),
        ({"testdata": np.zeros((28, TEST))}, r"testdata must be \(784, n\) and testtarget \(50, n\), got \(28, 3\)"),
        ({"data": np.full((784, TRAIN), 255)}, "data must be from 0 to 1, got 255 to 255$"),
        ({"data": np.zeros((784, 9)), "target": np.eye(50)[:, :9]}, "more than 1345 training images, got 9$"),
    ],
)
def test_a_file_of_something_else_is_refused(changed: dict[str, object], said: str, place: Path, tmp_path: Path):
    savemat(place, content(**changed))
    with pytest.raises(ValueError, match=said):
        omniglot(str(tmp_path))


@pytest.mark.parametrize("damaged", [b"", b"no MATLAB file at all" * 20])
def test_a_damaged_file_is_refused_in_one_line(damaged: bytes, place: Path, tmp_path: Path):
    place.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"is not a MATLAB file that can be read \(.*\)$"):
        omniglot(str(tmp_path))
    place.unlink()
    place.mkdir()
    with pytest.raises(ValueError, match="must be a file, got a folder"):
        omniglot(str(tmp_path))


def test_it_is_downloaded_once_and_a_download_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded \(.*no network.*\); put chardata.mat of https:"):
        omniglot(str(tmp_path))
    assert list((tmp_path / "omniglot").iterdir()) == []
    buffer = io.BytesIO()
    savemat(buffer, content())
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(buffer.getvalue()))
    with caplog.at_level(logging.INFO):
        omniglot(str(tmp_path))
        omniglot(str(tmp_path))
    assert caplog.text.count("Downloading omniglot") == 1
    assert [path.name for path in (tmp_path / "omniglot").iterdir()] == ["chardata.mat"]
