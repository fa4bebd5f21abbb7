"""Kinds of data, by type, range, shape and labels, through a source function and through `data=arrays`: the right
figure, the same for every form of the same data, or one line before anything is trained."""

import functools
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from discrete_latents.config.compose import composed
from discrete_latents.data import Images, Splits
from discrete_latents.errors import UserError
from discrete_latents.latent import HardSampler
from discrete_latents.training.build import build_data, build_model

SIZES = {"train": 40, "val": 12, "test": 10}
Change = Callable[[np.ndarray], Any]


@pytest.fixture(autouse=True)
def _annotations_not_checked(monkeypatch):
    """The messages are the package's own, as a user sees them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def levels() -> dict[str, np.ndarray]:
    """Images of 8×6 pixels, all levels from 0 to 255, other ones in each split."""
    random = np.random.default_rng(0)
    return {split: random.integers(0, 256, (count, 8, 6), dtype=np.uint8) for split, count in SIZES.items()}


def standardised(x: np.ndarray) -> np.ndarray:
    return ((x - 127.5) / 74).astype(np.float32)


def counts(x: np.ndarray) -> np.ndarray:
    return (x // 16).astype(np.int64)


def ones(x: np.ndarray) -> np.ndarray:
    return (x > 127).astype(np.uint8) * 255


def unchanged(x: np.ndarray) -> np.ndarray:
    return x


@functools.cache
def base(likelihood: str, network: str) -> DictConfig:
    small = {"mlp": ["model.network.hidden=[16]"], "cnn": ["model.network.hidden=[4]"], "linear": []}[network]
    few = ["model.likelihood.categories=16"] if likelihood == "categorical" else []
    words = ["data=arrays", f"model/likelihood={likelihood}", f"model/network={network}", "model.num_latents=3"]
    return composed([*words, "data.batch_size=10", *small, *few])


def settings(words: str) -> DictConfig:
    """Of words such as "gaussian cnn binarization=null kind=real": options, and settings of `data`."""
    likelihood, *others = words.split()
    network = next((word for word in others if "=" not in word), "mlp")
    config = deepcopy(base(likelihood, network))
    config.data.binarization = None
    for name, _, value in (word.partition("=") for word in others if "=" in word):
        config.data[name] = None if value == "null" else value
    return config


MADE: dict[str, tuple[Any, Any]] = {}


def source() -> Splits:
    """What a test put into MADE."""

    def tensor(array: Any) -> Any:
        return torch.from_numpy(array) if isinstance(array, np.ndarray) else array

    return Splits(*(Images(tensor(x), tensor(labels)) for x, labels in MADE.values()))


def figure(words: str, made: dict[str, tuple[Any, Any]], folder: Path | None = None) -> float:
    """The test nelbo after a pass of SGD over the training data, from a source function or from files."""
    config = settings(words)
    if folder is None:
        config.data.source = {"_target_": f"{__name__}.source", "_partial_": True}
        MADE.update(made)
    else:
        config.data.source.folder = str(folder)
        for split, (x, labels) in made.items():
            np.save(folder / f"{split}_images.npy", x)
            if labels is not None:
                np.save(folder / f"{split}_labels.npy", labels)
    data = build_data(config)
    torch.manual_seed(0)
    model = build_model(config, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for batch in data.train_dataloader():
        optimizer.zero_grad()
        model.training_loss(batch)[0].backward()
        optimizer.step()
    with model.evaluation_noise(), torch.no_grad():
        sampler = HardSampler()
        (batch,) = data.test_dataloader()
        return (sampler.kl if sampler.codes else 0.0) - model.objective(batch)(sampler).mean().item()


def made_of(change: Change, labels: Change = unchanged) -> dict[str, tuple[Any, Any]]:
    return {split: (change(x), labels(np.arange(len(x)) % 3)) for split, x in levels().items()}


@functools.cache
def expected(words: str, reference: Change) -> float:
    return figure(words, made_of(reference))


Form = tuple[str, Change, Change]
"""Settings, the data in one form, and the same data in the form of reference."""

SAME: dict[str, Form] = {
    # Grey values.
    "uint8 with a channel": ("bernoulli binarization=fixed", lambda x: x[:, None], unchanged),
    "uint8 in Fortran's order": ("bernoulli binarization=fixed", np.asfortranarray, unchanged),
    "float32 in [0, 1], fixed": ("bernoulli binarization=fixed", lambda x: x.astype("f4") / 255, unchanged),
    "float64 in [0, 1], fixed": ("bernoulli binarization=fixed", lambda x: x / 255, unchanged),
    "float64 in [0, 1], dynamic": ("bernoulli binarization=dynamic", lambda x: x / 255, unchanged),
    "float32 in [0, 1], threshold": ("bernoulli binarization=threshold", lambda x: x.astype("f4") / 255, unchanged),
    "float16 in [0, 1], threshold": ("bernoulli binarization=threshold", lambda x: (x / 255).astype("f2"), unchanged),
    "float64 in [0, 1], grey": ("bernoulli binarization=grey", lambda x: x / 255, unchanged),
    "float16 in [0, 1], grey": ("bernoulli binarization=grey", lambda x: (x / 255).astype("f2"), unchanged),
    "float64 in [0, 1], not binarised": ("bernoulli", lambda x: x / 255, unchanged),
    "float64 with a channel": ("bernoulli", lambda x: (x / 255)[:, None], unchanged),
    "float64 in [0, 1], Gaussian": ("gaussian", lambda x: x / 255, unchanged),
    "float32 in [0, 1], convolved": ("bernoulli cnn", lambda x: (x / 255).astype("f4"), unchanged),
    "levels as float32": ("discretized_logistic", lambda x: x.astype("f4") / 255, unchanged),
    "levels as float16": ("discretized_logistic", lambda x: (x / 255).astype("f2"), unchanged),
    "levels as vectors": ("discretized_logistic", lambda x: x.reshape(len(x), -1), unchanged),
    "grey vectors": ("bernoulli binarization=fixed", lambda x: x.reshape(len(x), -1), unchanged),
    "grey vectors of floats": ("bernoulli linear", lambda x: x.reshape(len(x), -1) / 255, unchanged),
    # Zeros and ones.
    "bool": ("bernoulli", lambda x: x > 127, ones),
    "bool, fixed": ("bernoulli binarization=fixed", lambda x: x > 127, ones),
    "floats of 0 and 1": ("bernoulli", lambda x: (x > 127) * 1.0, ones),
    "int64 of 0 and 1": ("bernoulli", lambda x: (x > 127) * 1, ones),
    "bool vectors": ("bernoulli", lambda x: x.reshape(len(x), -1) > 127, ones),
    "bool counts": ("poisson", lambda x: x > 127, lambda x: (x > 127) * 1),
    "bool classes": ("categorical", lambda x: x > 127, lambda x: (x > 127) * 1),
    # Real numbers.
    "standardised float64": ("gaussian", lambda x: standardised(x).astype("f8"), standardised),
    "standardised float16": ("gaussian", lambda x: standardised(x).astype("f2"), standardised),
    "standardised vectors": ("gaussian", lambda x: standardised(x).reshape(len(x), -1), standardised),
    "standardised, declared": ("gaussian kind=real", standardised, standardised),
    "binarization=grey of real numbers": ("gaussian binarization=grey", standardised, standardised),
    "whole numbers as real ones": ("gaussian kind=real", counts, lambda x: counts(x).astype("f4")),
    "bytes as real numbers": ("gaussian kind=real", unchanged, lambda x: x.astype("f8")),
    # Whole numbers.
    "int32 counts": ("poisson", lambda x: counts(x).astype("i4"), counts),
    "uint16 counts": ("poisson", lambda x: counts(x).astype("u2"), counts),
    "int8 counts": ("poisson", lambda x: counts(x).astype("i1"), counts),
    "uint8 counts, declared": ("poisson kind=whole", lambda x: x // 16, counts),
    "float64 counts, declared": ("poisson kind=whole", lambda x: (x // 16) * 1.0, counts),
    "vectors of counts": ("poisson", lambda x: counts(x).reshape(len(x), -1), counts),
    "uint16 classes": ("categorical", lambda x: counts(x).astype("u2"), counts),
    "uint8 classes, declared": ("categorical kind=whole", lambda x: x // 16, counts),
    "vectors of classes": ("categorical", lambda x: counts(x).reshape(len(x), -1), counts),
    "classes with a channel, convolved": ("categorical cnn", lambda x: counts(x)[:, None], counts),
}
ROUTES = pytest.mark.parametrize("route", ["source", "arrays"])


@ROUTES
@pytest.mark.parametrize("name", SAME)
def test_data_in_another_form_have_the_same_figure(name, route, tmp_path):
    words, change, reference = SAME[name]
    value = figure(words, made_of(change), tmp_path if route == "arrays" else None)
    rounded = "float16" in name and "threshold" not in name and "levels" not in name
    assert value == pytest.approx(expected(words, reference), rel=1e-3 if rounded else 1e-6)


@pytest.mark.parametrize("name", ["float32", "int64 counts", "standardised"])
def test_another_byte_order_is_read(name, tmp_path):
    words, change = {
        "float32": ("bernoulli binarization=fixed", lambda x: (x / 255).astype(">f4")),
        "int64 counts": ("poisson", lambda x: counts(x).astype(">i8")),
        "standardised": ("gaussian", lambda x: standardised(x).astype(">f8")),
    }[name]
    reference = {"float32": unchanged, "int64 counts": counts, "standardised": standardised}[name]
    assert figure(words, made_of(change), tmp_path) == pytest.approx(expected(words, reference), rel=1e-6)


def test_other_data_have_other_figures():
    """What would make the comparisons above hold whatever is read."""
    figures = [
        expected("bernoulli", unchanged),
        expected("bernoulli", ones),
        expected("bernoulli binarization=fixed", unchanged),
        expected("gaussian", unchanged),
        expected("gaussian", standardised),
        expected("poisson", counts),
        expected("categorical", counts),
        expected("discretized_logistic", unchanged),
        expected("bernoulli", lambda x: x // 2),
        expected("poisson", lambda x: counts(x) + 1),
    ]
    assert min(abs(a - b) for n, a in enumerate(figures) for b in figures[:n]) > 0.01


def test_a_figure_is_what_the_data_are_worth():
    """Of uniform levels, 48 times log 256; of their halves log 2, and of their sixteenths log 16."""
    assert expected("bernoulli", ones) == pytest.approx(48 * np.log(2), rel=0.05)
    assert expected("categorical", counts) == pytest.approx(48 * np.log(16), rel=0.25)
    assert expected("discretized_logistic", unchanged) == pytest.approx(48 * np.log(256), rel=0.25)


REFUSED: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    # What a likelihood does not take.
    "standardised floats, Bernoulli": (
        "bernoulli",
        standardised,
        (
            "Bernoulli takes grey values in [0, 1], got",
            "real numbers (-1.72",
            "model/likelihood=gaussian",
            "model.likelihood",
        ),
    ),
    "floats in [-1, 1], Bernoulli": ("bernoulli", lambda x: x / 127.5 - 1, ("Bernoulli takes", "(-1 to 1)")),
    "counts, Bernoulli": ("bernoulli", counts, ("got whole numbers from 0 (0 to 15)", "poisson or categorical")),
    "int64 from 0 to 255, Bernoulli": ("bernoulli", lambda x: x.astype("i8"), ("(0 to 255)", "must be uint8")),
    "uint16 from 0 to 65535": ("bernoulli", lambda x: x.astype("u2") * 257, ("(0 to 65535)", "must be uint8")),
    "counts, Gaussian": ("gaussian", counts, ("Gaussian takes", "poisson or categorical")),
    "grey, Poisson": (
        "poisson",
        unchanged,
        ("Poisson takes whole numbers from 0, got", "got grey values of 256 levels"),
    ),
    "floats in [0, 1], Poisson": ("poisson", lambda x: (x / 255) ** 2, ("got grey values in [0, 1]",)),
    "standardised floats, Poisson": ("poisson", standardised, ("Poisson takes", "got real numbers")),
    "grey, categorical": ("categorical", unchanged, ("Categorical takes", "data.kind=whole")),
    "more classes than it has": ("categorical", lambda x: counts(x) * 2, ("categories must be at least 31", "got 16")),
    "floats between levels": (
        "discretized_logistic",
        lambda x: (x / 255) ** 2,
        ("DiscretizedLogistic takes", "got grey values in [0, 1]"),
    ),
    "standardised floats, levels": ("discretized_logistic", standardised, ("got real numbers",)),
    "counts, levels": ("discretized_logistic", counts, ("got whole numbers",)),
    # What can be two things.
    "floats from 0 to 255": ("gaussian", lambda x: x * 1.0, ("from 0 to 255; divide", "data.kind=real or whole")),
    "floats from 0 to 100": ("gaussian", lambda x: x / 2.55, ("got float64 from 0 to 100", "set data.kind=real to")),
    "counts as floats": ("poisson", lambda x: counts(x) * 1.0, ("from 0 to 15", "data.kind=real or whole")),
    "uint8 of 0 and 1": ("bernoulli", lambda x: x % 2, ("none above 1: divided by 255 they are black", "kind=whole")),
    "uint8 counts": ("poisson", lambda x: x // 16, ("none above 15", "data.kind=whole for counts or classes")),
    "divided by 255 twice": ("bernoulli", lambda x: x / 255 / 255, ("none above 0.00392", "they are black")),
    # What is not as declared.
    "fractions, declared whole": ("poisson kind=whole", lambda x: x / 2, ("whole numbers from 0", "with fractions")),
    "negative, declared whole": ("poisson kind=whole", lambda x: counts(x) - 1, ("from 0, got int64 from -1 to 14",)),
    "negative whole numbers": ("poisson", lambda x: counts(x) - 1, ("whole numbers from 0, got int64 from -1 to 14",)),
    "int8 that wrapped": ("poisson", lambda x: x.view("i1"), ("got int8 from -128 to 127",)),
    "standardised, declared grey": ("bernoulli kind=grey", standardised, ("grey values", "data.kind=real takes")),
    "int64, declared grey": ("bernoulli kind=grey", lambda x: x.astype("i8"), ("convert 0 to 255 to uint8",)),
    "an unknown kind": ("bernoulli kind=counts", counts, ("data.kind must be one of grey, real, whole or null",)),
    # What cannot be binarised.
    "standardised floats, fixed": (
        "gaussian binarization=fixed",
        standardised,
        ("data.binarization must be null for data that are not grey values, got fixed", "real numbers (-1.72"),
    ),
    "counts, dynamic": ("poisson binarization=dynamic", counts, ("data.binarization must be null", "(0 to 15)")),
    # Values of no kind.
    "NaN": ("gaussian", lambda x: np.where(x == 9, np.nan, standardised(x)), ("must be finite numbers, got NaN (",)),
    "infinite": ("gaussian", lambda x: np.where(x == 9, -np.inf, standardised(x)), ("got infinite (",)),
    "one value": ("gaussian", lambda x: standardised(x) * 0 + 3, ("more than one value, got 3 throughout",)),
    "no count": ("poisson", lambda x: counts(x) * 0, ("more than one value, got 0 throughout",)),
    "complex": ("gaussian", lambda x: x * 1j, ("must be numbers, such as uint8 or float32, got complex128",)),
    # Shapes.
    "vectors, convolved": ("gaussian cnn", lambda x: standardised(x).reshape(len(x), -1), ("linear or mlp", "got CNN")),
    "numbers": ("gaussian", lambda x: standardised(x)[:, 0, 0], ("or vectors (n, D), got (40,)",)),
    "five dimensions": ("gaussian", lambda x: standardised(x)[:, None, None], ("got (40, 1, 1, 8, 6)",)),
    "channels last": ("gaussian", lambda x: np.stack([standardised(x)] * 3, -1), ("channels first, (40, 3, 8, 6)",)),
    "no vectors": ("gaussian", lambda x: standardised(x).reshape(len(x), -1)[:0], ("at least one image, got none",)),
    "vectors of nothing": ("gaussian", lambda x: standardised(x)[:, 0, :0], ("at least one pixel each, got (40, 0)",)),
}


@ROUTES
@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_right_are_one_line(name, route, tmp_path):
    words, change, said = REFUSED[name]
    with pytest.raises(UserError) as caught:
        figure(words, made_of(change), tmp_path if route == "arrays" else None)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("data.") or name == "vectors, convolved"
    for part in said:
        assert part in message
    about_x = not any(part in message for part in ("likelihood", "data.kind must", "data.binarization", "network"))
    assert ("train" in message) == about_x


OTHERS = {
    "test vectors beyond [0, 1]": ("bernoulli", "test", lambda x: x / 200, ("test vectors must be grey values",)),
    "val vectors of NaN": ("bernoulli", "val", lambda x: x * np.nan, ("val vectors must be finite numbers, got NaN",)),
    "test vectors of a type": ("bernoulli", "test", lambda x: x.astype("i8"), ("test vectors", "to uint8")),
    "val vectors of other width": ("bernoulli", "val", lambda x: x[:, 1:], ("val vectors must be (48,) each", "(47,)")),
}


@ROUTES
@pytest.mark.parametrize("name", OTHERS)
def test_a_split_unlike_the_training_data_is_named(name, route, tmp_path):
    words, split, change, said = OTHERS[name]
    made = made_of(lambda x: x.reshape(len(x), -1))
    made[split] = change(made[split][0]), made[split][1]
    with pytest.raises(UserError) as caught:
        figure(words, made, tmp_path if route == "arrays" else None)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize("change", [counts, standardised], ids=["whole", "real"])
def test_splits_of_other_types_are_refused_unless_the_kind_is_declared(change):
    words = "poisson" if change is counts else "gaussian"
    made = made_of(change)
    made["test"] = levels()["test"], None
    with pytest.raises(UserError, match=r"test images must be (int64|float32), as the train split's are, got uint8; "):
        figure(words, made)
    declared = {"poisson": "poisson kind=whole", "gaussian": "gaussian kind=real"}[words]
    assert figure(declared, made) > 0


LABELS = {
    "int64": (unchanged, None),
    "uint8": (lambda y: y.astype("u1"), None),
    "int32": (lambda y: y.astype("i4"), None),
    "none": (lambda y: None, None),
    "floats": (lambda y: y * 1.0, "train labels must be 40 whole numbers, one for each image, got float64 (40,)"),
    "one-hot": (lambda y: np.eye(3, dtype=int)[y], "train labels must be 40 whole numbers, one for each image, got"),
    "from -1": (lambda y: y - 1, "train labels must be classes from 0 on, got -1"),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("change", [unchanged, counts], ids=["grey", "counts"])
def test_labels_of_every_kind_of_data(name, change):
    labels, said = LABELS[name]
    words = "bernoulli" if change is unchanged else "poisson"
    if said is None:
        assert figure(words, made_of(change, labels)) == pytest.approx(expected(words, change), rel=1e-6)
    else:
        with pytest.raises(UserError) as caught:
            figure(words, made_of(change, labels))
        assert said in str(caught.value)


def test_grey_is_the_former_name_of_x():
    x = torch.zeros(2, 3)
    assert Images(grey=x, labels=None) == Images(x)
    assert Images(x).grey is Images(x).x is x


@pytest.mark.parametrize(
    ("words", "change", "statistic"),
    [
        ("gaussian", standardised, lambda x: x.double().mean(0)),
        ("poisson", counts, lambda x: (x.sum(0) + x.double().mean()) / 41),
        ("categorical", counts, lambda x: ((x.unsqueeze(-1) == torch.arange(16)).sum(0) + 1 / 16) / 41),
    ],
)
def test_the_base_rate_is_that_of_the_likelihood(words, change, statistic):
    """Means, log-rates with one mean observation more, and log-frequencies with one of all classes alike."""
    config = settings(words)
    config.data.source = {"_target_": f"{__name__}.source", "_partial_": True}
    MADE.update(made_of(change))
    data = build_data(config)
    model = build_model(config, data)
    rate = statistic(torch.from_numpy(MADE["train"][0]).unsqueeze(1)).float()
    expected_bias = rate if words == "gaussian" else rate.log()
    torch.testing.assert_close(model.output_bias, expected_bias)
    centre = torch.zeros(1, 8, 6) if words == "categorical" else data.mean_image
    torch.testing.assert_close(model.mean_image, centre)
