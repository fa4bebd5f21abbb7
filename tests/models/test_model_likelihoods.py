"""Every model under every likelihood, of images and of vectors: base rate, a step, pictures, completions."""

from typing import Any

import pytest
import torch

from discrete_latents.config.compose import composed
from discrete_latents.data import Images, Splits, digit_counts
from discrete_latents.errors import UserError
from discrete_latents.latent import HardSampler
from discrete_latents.models import LatentModel
from discrete_latents.training.build import build_data, build_model

DATA = {"bernoulli": "fixed", "gaussian": "grey", "discretized_logistic": "grey", "poisson": None, "categorical": None}
MODELS = {
    "categorical_vae": ["model.num_latents=2", "model.num_classes=3"],
    "structured_prediction": ["model.num_latents=2", "model.num_classes=3"],
    "semi_supervised": ["data.labelled=50", "data.labelled_batch_size=50"],
}


def counts_as_images() -> Splits:
    return Splits(*(Images(x.view(-1, 1, 8, 8), labels) for x, labels in digit_counts()))


def built(model: str, likelihood: str, network: str = "mlp", vectors: bool = False) -> tuple[LatentModel, Any]:
    words = [f"model={model}", f"model/likelihood={likelihood}", f"model/network={network}", *MODELS[model]]
    if DATA[likelihood] is None:
        words += ["data=digit_counts"]
    else:
        words += [f"data.binarization={DATA[likelihood]}"]
    if likelihood == "categorical":
        words += ["model.likelihood.categories=17"]
    config = composed([*words, "data.kind=real"] if vectors and likelihood == "gaussian" else words)
    if DATA[likelihood] is None and not vectors:
        config.data.source._target_ = f"{__name__}.counts_as_images"
    data = build_data(config)
    return build_model(config, data), data


CASES = [(model, likelihood, "mlp") for model in MODELS for likelihood in DATA]
CASES += [(model, likelihood, "cnn") for model in MODELS if "structured" not in model for likelihood in DATA]


@pytest.mark.parametrize(("name", "likelihood", "network"), CASES)
def test_every_likelihood_is_that_of_every_model_and_network(name, likelihood, network):
    model, data = built(name, likelihood, network)
    batch = next(iter(data.train_dataloader()))
    loss, _ = model.training_loss(batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.likelihood.parameters())
    shapes = {tuple(rows.shape[2:]) for rows in model.pictures(next(iter(data.batches("val", 10)))).values()}
    assert shapes == {(1, 8, 8)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("likelihood", DATA)
def test_a_decoder_that_ignores_its_latents_has_the_base_rate(name, likelihood):
    """So that the first bound of training is that of independent features."""
    model, data = built(name, likelihood)
    decoder: Any = model.head if name == "structured_prediction" else model.decoder
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        x, labels = next(iter(data.batches("train", 1000)))
        value = model.objective((x, labels))(HardSampler()).mean()
        mean = data.mean(model.likelihood.statistics)
        output = model.likelihood.output_for_mean(mean)
        if name == "structured_prediction":
            x, output = x.flatten(1)[:, model.asked], output.flatten(0, 2)[model.asked]
        expected = model.likelihood.log_prob(x, output.expand(len(x), *output.shape)).mean()
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("likelihood", ["poisson", "categorical"])
@pytest.mark.parametrize("name", ["categorical_vae", "semi_supervised"])
def test_vectors_have_the_figure_of_the_same_images(name, likelihood):
    values = []
    for vectors in (False, True):
        torch.manual_seed(0)
        model, data = built(name, likelihood, vectors=vectors)
        with model.evaluation_noise(), torch.no_grad():
            values.append(model.objective(next(iter(data.batches("val", 50))))(HardSampler()).mean())
        rows = model.pictures(next(iter(data.batches("val", 10))))
        assert {tuple(shown.shape[2:]) for shown in rows.values()} == {(64,) if vectors else (1, 8, 8)}
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("likelihood", ["poisson", "categorical"])
def test_completions_of_whole_numbers_keep_what_is_given(likelihood):
    model, data = built("structured_prediction", likelihood)
    x, _ = next(iter(data.batches("val", 5)))
    completed = model.complete(x, 3)
    assert completed.is_floating_point()
    assert torch.equal(completed[..., :4, :], x[..., :4, :].float().expand(3, -1, -1, -1, -1))
    assert (completed[..., 4:, :] % 1 > 0).any()


def test_pictures_leave_the_batch_as_it_is():
    model, data = built("structured_prediction", "gaussian")
    x, labels = next(iter(data.batches("val", 5)))
    before = x.clone()
    model.pictures((x, labels))
    assert torch.equal(x, before)


def test_vectors_have_no_halves():
    with pytest.raises(UserError, match=r"model.given = 'top' needs images, got vectors of 64 features$"):
        built("structured_prediction", "poisson", vectors=True)
