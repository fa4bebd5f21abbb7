"""Data of another convention: each fault, in each split, through a source function and through `data=arrays`."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from discrete_latents.data import Augmentation, ImageData, Images, Splits, arrays
from discrete_latents.data.image_warnings import LARGEST, image_hashes, split_warnings

SIZES = {"train": 40, "val": 12, "test": 10}
Arrays = dict[str, tuple[Any, Any]]
"""Images and labels of each split, as NumPy arrays or what stands in their place."""


@pytest.fixture(autouse=True)
def _annotations_not_checked(monkeypatch):
    """The messages are the package's own, as a user sees them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def good() -> Arrays:
    random = np.random.default_rng(0)
    shades = {split: random.integers(0, 256, (count, 8, 6), dtype=np.uint8) for split, count in SIZES.items()}
    return {split: (images, np.arange(len(images)) % 3) for split, images in shades.items()}


def as_tensor(array: Any) -> Any:
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array


def from_source(made: Arrays) -> ImageData:
    return ImageData("mine", lambda: Splits(*(Images(*map(as_tensor, pair)) for pair in made.values())), "grey")


def from_files(made: Arrays, folder: Path) -> ImageData:
    for split, (images, labels) in made.items():
        np.save(folder / f"{split}_images.npy", images)
        if labels is not None:
            np.save(folder / f"{split}_labels.npy", labels)
    return ImageData("arrays", lambda: arrays(str(folder)), "grey")


def refusal(data: ImageData) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        data.setup()
    assert "\n" not in str(caught.value)
    assert not data.pixels
    return str(caught.value)


def of_images(change: Callable[[np.ndarray], Any]) -> Callable[[Any, Any], tuple[Any, Any]]:
    return lambda images, labels: (change(images), labels)


def of_labels(change: Callable[[np.ndarray], Any]) -> Callable[[Any, Any], tuple[Any, Any]]:
    return lambda images, labels: (images, change(labels))


FAULTS = {
    # Range.
    "0 and 1": (of_images(lambda x: x % 2), "none above 1: divided by 255 they are black; multiply them by 255"),
    "0 to 16, as scikit-learn's digits": (of_images(lambda x: x % 17), "none above 16", "multiply them by 15"),
    "palette indices": (of_images(lambda x: x % 8), "none above 7"),
    "all black": (of_images(np.zeros_like), "must hold more than one grey value, got 0 in every pixel"),
    "all white": (of_images(lambda x: x | 255), "must hold more than one grey value, got 255 in every pixel"),
    "all grey": (of_images(lambda x: np.full_like(x, 7)), "got 7 in every pixel"),
    # Type. What each kind of data is taken for is in test_kinds.py.
    "floats from 0 to 255": (of_images(lambda x: x.astype("f4")), "must be grey values", "[0, 1]", "got float32 from"),
    "NaN": (of_images(lambda x: np.full(x.shape, np.nan)), "must be finite numbers, got NaN (", "are not finite)"),
    "one NaN": (of_images(lambda x: np.where(np.arange(6) == 2, np.nan, x / 255)), "must be finite numbers, got NaN ("),
    "infinite": (of_images(lambda x: np.where(x > 250, np.inf, x / 255)), "must be finite numbers, got infinite ("),
    "beyond float32": (of_images(lambda x: x * 1e300), "must be finite numbers, got infinite ("),
    "complex": (of_images(lambda x: x.astype(complex)), "must be ", "complex128"),
    # Another type than the other splits'.
    "standardised floats": (of_images(lambda x: (x / 255 - 0.5) * 2), "must be ", "got "),
    "int64": (of_images(lambda x: x.astype(np.int64)), "must be ", "got "),
    "int32": (of_images(lambda x: x.astype(np.int32)), "must be ", "got "),
    "int8": (of_images(lambda x: x.astype(np.int8)), "must be ", "got int8 from -"),
    "16 bits": (of_images(lambda x: x.astype(np.uint16) * 257), "must be ", "got "),
    # Shape.
    "RGB last": (of_images(lambda x: np.stack([x] * 3, -1)), "channels first", "8, 6, 3), which has them last"),
    "one channel last": (of_images(lambda x: x[..., None]), "channels first", "8, 6, 1), which has them last"),
    "RGBA last": (of_images(lambda x: np.stack([x] * 4, -1)), "channels first", "8, 6, 4), which has them last"),
    "other channels": (of_images(lambda x: np.stack([x] * 3, 1)), "must be (", ", got ("),
    "other height": (of_images(lambda x: x[:, 1:]), "must be (", ", got ("),
    "transposed": (of_images(lambda x: x.transpose(0, 2, 1)), "must be (", ", got ("),
    "flat": (of_images(lambda x: x.reshape(len(x), -1)), "must be (", ", got ("),
    "five dimensions": (of_images(lambda x: x[:, None, None]), "(n, H, W) or (n, C, H, W)", "1, 1, 8, 6)"),
    "one image without its dimension": (of_images(lambda x: x[0]), "must be 8 whole numbers"),
    "one column": (of_images(lambda x: x[:, 0, 0]), "(n, H, W) or (n, C, H, W), or vectors (n, D), got ("),
    "empty": (lambda x, y: (x[:0], y[:0]), "must be at least one image, got none: (0, 8, 6)"),
    "no pixels": (of_images(lambda x: x[:, :, :0]), "must have at least one pixel each", "8, 0)"),
    "no channels": (of_images(lambda x: x[:, None][:, :0]), "must have at least one pixel each", "0, 8, 6)"),
    # Labels.
    "labels of -1": (of_labels(lambda y: y - 1), "must be classes from 0 on, got -1", "are below 0"),
    "one label of -1": (of_labels(lambda y: np.where(np.arange(len(y)) == 4, -1, y)), "got -1 (1 of "),
    "float labels": (of_labels(lambda y: y.astype(float)), "whole numbers, one for each image, got float64"),
    "bool labels": (of_labels(lambda y: y > 0), "whole numbers, one for each image, got bool"),
    "fewer labels": (of_labels(lambda y: y[1:]), "whole numbers, one for each image"),
    "more labels": (of_labels(lambda y: np.append(y, 0)), "whole numbers, one for each image"),
    "one-hot labels": (of_labels(lambda y: np.eye(3, dtype=int)[y]), "whole numbers, one for each image", ", 3)"),
    "labels as a column": (of_labels(lambda y: y[:, None]), "whole numbers, one for each image", ", 1)"),
    "no label at all": (of_labels(lambda y: y[:0]), "whole numbers, one for each image, got int64 (0,)"),
    "a single label": (of_labels(lambda y: np.array(y[0])), "whole numbers, one for each image, got int64 ()"),
}


@pytest.mark.parametrize("route", ["source", "arrays"])
@pytest.mark.parametrize("split", SIZES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_any_split_is_one_line_that_names_the_split_and_what_was_found(good, tmp_path, fault, split, route):
    change, *said = FAULTS[fault]
    good[split] = change(*good[split])
    message = refusal(from_source(good) if route == "source" else from_files(good, tmp_path))
    # The train images are what the others are held against.
    shapes, types = ("other channels", "other height", "transposed", "flat"), ("standardised floats", "int64", "int32")
    other = fault in (*shapes, *types, "16 bits") and split == "train"
    assert message.startswith("val" if other else split)
    for words in said:
        assert words in message


FORMS: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "with a channel": of_images(lambda x: x[:, None]),
    "in Fortran's order": of_images(np.asfortranarray),
    "labels of 8 bits": of_labels(lambda y: y.astype(np.uint8)),
    "labels of 32 bits": of_labels(lambda y: y.astype(np.int32)),
}
FORMS_OF_FILES = FORMS | {"labels of another byte order": of_labels(lambda y: y.astype(">i8"))}
FORMS_OF_TENSORS = FORMS | {
    "not contiguous": of_images(lambda x: torch.from_numpy(x.repeat(2, 2))[:, :, ::2]),
    "a part of a larger tensor": of_images(lambda x: torch.from_numpy(np.concatenate([x, x]))[len(x) :]),
}


def everything(data: ImageData) -> list[torch.Tensor]:
    data.setup()
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [data.mean_image, *(part for loader in loaders for batch in loader for part in batch)]


@pytest.mark.parametrize(
    ("route", "form"), [("source", form) for form in FORMS_OF_TENSORS] + [("arrays", form) for form in FORMS_OF_FILES]
)
@pytest.mark.parametrize("binarization", ["grey", "fixed"])
def test_the_same_images_in_another_form_are_the_same_data(good, tmp_path, binarization, route, form):
    change = (FORMS_OF_TENSORS if route == "source" else FORMS_OF_FILES)[form]
    changed = {split: change(*pair) for split, pair in good.items()}
    expected, data = from_source(good), from_source(changed) if route == "source" else from_files(changed, tmp_path)
    expected.binarization = data.binarization = binarization
    got = everything(data)
    assert len(got) == 7
    for part, again in zip(everything(expected), got, strict=True):
        assert torch.equal(part, again)
        assert part.dtype == again.dtype


@pytest.mark.parametrize("route", ["source", "arrays"])
def test_labels_may_be_absent_and_are_then_minus_one(good, tmp_path, route):
    good = {split: (images, None) for split, (images, _) in good.items()}
    data = from_source(good) if route == "source" else from_files(good, tmp_path)
    data.setup()
    assert data.classes == {"train": 0, "val": 0, "test": 0}
    assert {split: labels.unique().tolist() for split, labels in data.labels.items()} == {
        split: [-1] for split in SIZES
    }
    assert data.labels["val"].shape == (12,)


def test_classes_count_to_the_largest_label_of_each_split(good):
    good["test"] = good["test"][0], good["test"][1] * 2
    data = from_source(good)
    data.setup()
    assert data.classes == {"train": 3, "val": 3, "test": 5}


@pytest.mark.parametrize(
    "shape", [(16, 4, 4), (3, 5, 4), (4, 8, 3), (1, 8, 1), (1, 1, 40), (5, 5, 5), (3, 32, 32), (32, 5), (5, 2)], ids=str
)
def test_channels_first_are_not_taken_for_channels_last(shape):
    shades = torch.randint(0, 256, (30, *shape), dtype=torch.uint8)
    data = ImageData("mine", lambda: Splits(*(Images(part) for part in shades.split(10))), "grey")
    data.setup()
    assert data.image_shape == (shape if len(shape) == 3 else (1, *shape))


def tensors(count: int = 9) -> Images:
    return Images(torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8), torch.zeros(count, dtype=torch.long))


RETURNED = {
    "nothing": (lambda: None, "source must return Splits(train, val, test), got None"),
    "a dict": (lambda: {"train": tensors()}, "source must return Splits(train, val, test), got a dict"),
    "a list": (lambda: [tensors()] * 3, "source must return Splits(train, val, test), got a list"),
    "a tuple of arrays": (lambda: (np.zeros(3),) * 3, "source must return Splits(train, val, test), got a tuple"),
    "a tuple of Images": (lambda: (tensors(),) * 3, "source must return Splits(train, val, test), got a tuple"),
    "a tensor": (lambda: tensors().grey, "source must return Splits(train, val, test), got a Tensor"),
    "Images": (tensors, "source must return Splits(train, val, test), got a Images"),
    "Splits of arrays": (
        lambda: Splits(*[np.zeros(3)] * 3),  # type: ignore[list-item]
        "source must return Images(x, labels) for the train split, got a ndarray",
    ),
    "Splits of pairs": (
        lambda: Splits(tensors(), tuple(tensors()), tensors()),  # type: ignore[arg-type]
        "source must return Images(x, labels) for the val split, got a tuple",
    ),
    "a split of None": (
        lambda: Splits(tensors(), tensors(), None),  # type: ignore[arg-type]
        "source must return Images(x, labels) for the test split, got None",
    ),
    "images as arrays": (
        lambda: Splits(Images(tensors().grey.numpy()), tensors(), tensors()),  # type: ignore[arg-type]
        "train images must be a torch.Tensor, got a ndarray; torch.from_numpy makes one",
    ),
    "images as a list": (
        lambda: Splits(Images(list(tensors().grey)), tensors(), tensors()),  # type: ignore[arg-type]
        "train images must be a torch.Tensor, got a list",
    ),
    "labels as arrays": (
        lambda: Splits(tensors(), Images(tensors().grey, np.zeros(9, int)), tensors()),  # type: ignore[arg-type]
        "val labels must be a torch.Tensor, got a ndarray; torch.from_numpy makes one",
    ),
    "labels as a list": (
        lambda: Splits(tensors(), Images(tensors().grey, [0] * 9), tensors()),  # type: ignore[arg-type]
        "val labels must be a torch.Tensor, got a list",
    ),
    "sparse images": (
        lambda: Splits(Images(tensors().grey.to_sparse()), tensors(), tensors()),
        "train images must be a dense tensor on the CPU, got sparse_coo on cpu",
    ),
    "images on another device": (
        lambda: Splits(Images(tensors().grey.to("meta")), tensors(), tensors()),
        "train images must be a dense tensor on the CPU, got strided on meta",
    ),
}


@pytest.mark.parametrize("name", RETURNED)
def test_a_source_that_returns_something_else_is_one_line(name):
    returned, said = RETURNED[name]
    assert refusal(ImageData("mine", returned, "grey")).startswith(said)  # type: ignore[arg-type]


def test_a_source_that_is_called_already_is_refused():
    with pytest.raises(ValueError, match=r"^source is a Splits, not a function that returns Splits; "):
        ImageData("mine", Splits(tensors(), tensors(), tensors()))  # type: ignore[arg-type]


def test_a_source_that_needs_arguments_is_refused():
    with pytest.raises(ValueError, match=r"^source must be callable .*, got missing a required argument: 'folder'$"):
        ImageData("mine", arrays)  # type: ignore[arg-type]


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros((9, 6, 6), dtype=np.uint8))


def objects(path: Path) -> None:
    np.save(path, np.array([b"a", None], dtype=object), allow_pickle=True)


FILES = {
    "an archive": (archive, "must be a .npy file of one array, got an .npz archive of x"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps([1, 2])), "is not a NumPy file that can be mapped"),
    "objects": (objects, "is not a NumPy file that can be mapped"),
    "text": (lambda path: path.write_text("1 2 3\n"), "is not a NumPy file that can be mapped"),
    "nothing in it": (lambda path: path.write_bytes(b""), "is not a NumPy file that can be mapped"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 9), "is not a NumPy file that can be mapped"),
    "a folder": (Path.mkdir, "must be a file, got a folder"),
    "a pipe": (os.mkfifo, "must be a file, got a pipe or device"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "is missing; source.folder must hold it"),
    "words": (lambda path: np.save(path, np.array(["a", "b"])), "must be "),
    "records": (lambda path: np.save(path, np.zeros(9, dtype=[("a", "u1"), ("b", "f4")])), "must be "),
    "dates": (lambda path: np.save(path, np.zeros(9, dtype="M8[s]")), "must be "),
    "one number": (lambda path: np.save(path, np.uint8(3)), "must be "),
}


@pytest.mark.parametrize("name", ["train_images.npy", "val_labels.npy", "test_images.npy"])
@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_array_is_one_line_that_names_it(good, tmp_path, what, name):
    if what == "a link to nothing" and "labels" in name:
        pytest.skip("labels may be missing")
    make, said = FILES[what]
    data, path = from_files(good, tmp_path), tmp_path / name
    if what != "cut":
        path.unlink()
    make(path)
    message = refusal(data)
    assert name in message
    assert said in message


# Settings that the data does not allow


def labelled(good: Arrays, count: int, **settings: Any) -> ImageData:
    source = from_source(good).source
    return ImageData("mine", source, "grey", labelled=count, labelled_batch_size=2, batch_size=5, **settings)


def test_classes_with_gaps_are_shared_evenly(good):
    good["train"] = good["train"][0], np.array([0, 2, 5])[good["train"][1]]
    data = labelled(good, 6)
    data.setup()
    kept = data.labels["train"][data.labels["train"] >= 0]
    assert kept.bincount().tolist() == [2, 0, 2, 0, 0, 2]
    assert data.classes["train"] == 6
    assert "must be a multiple of the 3 classes, at most 39, got 10" in refusal(labelled(good, 10))


def test_labels_that_leave_no_image_without_one_are_refused(good):
    good["train"] = good["train"][0][:39], good["train"][1][:39]
    assert refusal(labelled(good, 39)).startswith("labelled must be below the 39 train images")
    assert refusal(labelled(good, 42)).startswith("labelled must be a multiple of the 3 classes, at most 39, got 42")


def test_labelled_without_labels_says_what_is_missing(good):
    good["train"] = good["train"][0], None
    assert "train_labels.npy is missing" in refusal(labelled(good, 6))


@pytest.mark.parametrize(("low", "high"), [(0, 127), (128, 255)])
@pytest.mark.parametrize("split", SIZES)
def test_a_threshold_that_leaves_one_value_is_refused(good, split, low, high):
    good[split] = good[split][0].clip(low, high), good[split][1]
    data = from_source(good)
    data.binarization = "threshold"
    assert refusal(data).startswith(f"binarization = threshold makes every pixel of the {split} images ")


AUGMENTATIONS = {
    "floats": (lambda x: x / 255, "got float32 (2, 1, 8, 6)"),
    "another size": (lambda x: x[..., 1:], "got uint8 (2, 1, 8, 5)"),
    "fewer images": (lambda x: x[:1], "got uint8 (1, 1, 8, 6)"),
    "an array": (lambda x: x.numpy(), "got a ndarray"),
    "nothing": (lambda x: None, "got None"),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_that_returns_something_else_is_refused(good, name):
    augmentation, said = AUGMENTATIONS[name]
    message = refusal(labelled(good, 6, augmentation=augmentation))
    assert message == f"augmentation must return uint8 images (2, 1, 8, 6) as it is given, {said}"


def test_a_shift_out_of_the_image_is_refused(good):
    message = refusal(labelled(good, 6, augmentation=Augmentation(shift=6)))
    assert message == "shift must be below the size of the images, 8×6, got 6"
    labelled(good, 6, augmentation=Augmentation(shift=5)).setup()


def test_an_augmentation_is_tried_on_copies_and_without_trainings_noise(good):
    noise = torch.get_rng_state()
    plain, changed = (
        labelled(good, 6),
        labelled(good, 6, augmentation=lambda x: x.bitwise_not_().roll(int(torch.rand(1)))),
    )
    plain.setup()
    changed.setup()
    assert torch.equal(plain.pixels["train"], changed.pixels["train"])
    assert torch.equal(torch.get_rng_state(), noise)


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "labelled_batch_size"])
def test_a_batch_may_be_larger_than_its_split(good, name):
    data = ImageData("mine", from_source(good).source, "grey", labelled=6, **{name: 1000})
    data.setup()
    sizes = {
        "train": len(data.train_dataloader()),
        "val": len(data.val_dataloader()),
        "test": len(data.test_dataloader()),
    }
    assert sizes == {"train": 1, "val": 1, "test": 1}
    ((images, labels),) = data.train_dataloader()
    assert len(images) == (1000 if name == "labelled_batch_size" else 100) + 34
    assert (labels >= 0).sum() == len(images) - 34


# What is only said


def warned(made: Arrays) -> list[str]:
    return list(split_warnings(Splits(*(Images(*map(as_tensor, pair)) for pair in made.values()))))


def test_ordinary_images_are_passed_over_in_silence(good):
    assert warned(good) == []


@pytest.mark.parametrize("split", SIZES)
def test_a_split_of_one_image_is_said_and_works(good, split, caplog):
    good[split] = good[split][0][:1], good[split][1][:1]
    data = from_source(good)
    data.setup()
    assert [record.message for record in caplog.records] == [f"data.name = mine: the {split} split has one image"]
    assert len(everything(data)) == 7


def test_dark_images_are_said(good):
    good["val"] = good["val"][0] // 2, good["val"][1]
    assert warned(good) == ["the brightest pixel of the val images is 127 of 255"]


@pytest.mark.parametrize(("first", "second"), [("train", "val"), ("train", "test"), ("val", "test")])
@pytest.mark.parametrize("width", [6, 5, 1])
def test_images_that_two_splits_share_are_counted(good, first, second, width):
    good = {split: (images[..., :width], labels) for split, (images, labels) in good.items()}
    good[second][0][2:5] = good[first][0][1]
    assert warned(good) == [f"3 of the {SIZES[second]} {second} images are in the {first} split, too"]


def test_repeated_images_of_one_split_are_its_own_business(good):
    good["train"][0][1:4] = good["train"][0][0]
    assert warned(good) == []


def test_images_that_only_share_a_hash_are_not_said_to_be_shared(good, monkeypatch):
    monkeypatch.setattr("discrete_latents.data.image_warnings.image_hashes", lambda images: np.zeros(len(images)))
    assert warned(good) == []


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 5), (1, 2, 3)])
def test_hashes_are_those_of_the_content(shape):
    images = torch.randint(0, 256, (2000, *shape), dtype=torch.uint8).unique(dim=0)
    hashes = image_hashes(images)
    assert len(set(hashes.tolist())) == len(images)
    strided = images.transpose(0, 2).contiguous().transpose(0, 2)
    assert not strided.is_contiguous()
    assert (image_hashes(strided.flip(0)) == hashes[::-1]).all()


def test_shared_images_are_not_looked_for_in_more_than_a_quarter_of_a_gigabyte():
    shades = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(LARGEST // 2**16, 1, 256, 256)
    assert list(split_warnings(Splits(Images(shades), Images(shades[:2]), Images(shades[:2])))) == []
