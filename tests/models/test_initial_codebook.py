"""The start of a codebook: principal components, k-means and the precision of a draw, against NumPy and by hand."""

import numpy as np
import pytest
import torch

from discrete_latents.config.compose import composed
from discrete_latents.models.initial_codebook import principal_map, spread_codebook, spread_precision
from discrete_latents.training.build import build_model
from tests.models.test_image_tokenizer import SMALL, built


@pytest.fixture
def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(500, 6) * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1]) @ torch.randn(6, 6) + 7


def test_the_map_gives_the_principal_components_the_largest_of_variance_1(features):
    weight, bias = principal_map(features, 3)
    found = np.cov((features @ weight.T + bias).numpy(), rowvar=False, bias=True)
    values = np.linalg.eigvalsh(np.cov(features.numpy(), rowvar=False, bias=True))[::-1]
    np.testing.assert_allclose(found, np.diag(values[:3] / values[0]), atol=1e-4)
    assert (features @ weight.T + bias).mean(0).abs().max() < 1e-4


def test_features_of_fewer_dimensions_than_the_codebook_leave_the_rest_at_zero(features):
    weight, _ = principal_map(features, 9)
    assert weight.shape == (9, 6)
    assert not weight[6:].any()


def test_equal_features_are_no_division_by_zero():
    weight, bias = principal_map(torch.ones(8, 3), 2)
    vectors = torch.ones(8, 3) @ weight.T + bias
    precision = spread_precision(vectors, spread_codebook(vectors, 4))
    assert weight.isfinite().all()
    assert precision.isfinite()


def test_each_of_as_many_groups_as_codes_gets_a_vector():
    torch.manual_seed(0)
    centres = 10 * torch.randn(4, 2)
    vectors = (centres.unsqueeze(1) + 0.1 * torch.randn(4, 200, 2)).flatten(0, 1)
    for _ in range(5):  # k-means may start with two vectors in one group
        codebook = spread_codebook(vectors, 16)
        assert torch.cdist(centres, codebook).min(-1).values.max() < 0.3
        assert torch.cdist(vectors, codebook).argmin(-1).bincount(minlength=16).min() > 0


def test_more_codes_than_features_are_features(features):
    codebook = spread_codebook(features[:5], 9)
    assert codebook.shape == (9, 6)
    assert torch.cdist(codebook, features[:5]).min(-1).values.max() < 1e-4


def test_the_nearest_logit_is_2_above_that_after_the_8_nearest(features):
    codebook = spread_codebook(features, 32)
    precision = spread_precision(features, codebook)
    logits = -torch.cdist(features, codebook).square() / 2 * precision
    ranked = logits.sort(-1, descending=True).values
    assert (ranked[:, 0] - ranked[:, 8]).mean().item() == pytest.approx(2.0, abs=1e-4)


def test_a_tokeniser_starts_with_all_codes_in_use_and_the_noise_as_it_was():
    torch.manual_seed(0)
    model, data = built("latent=gumbel_softmax", "data=patches", "model.num_classes=64", "model.width=8")
    after = torch.rand(())
    codes = model.encode_codes(data.example(400)[0])
    assert (codes.flatten().bincount(minlength=64) > 0).float().mean() > 0.9
    again, _ = built("latent=gumbel_softmax", "data=patches", "model.num_classes=64", "model.width=8")
    torch.testing.assert_close(torch.rand(()), after, rtol=0, atol=0)
    torch.testing.assert_close(again.codebook, model.codebook, rtol=0, atol=0)


def test_a_tokeniser_whose_weights_are_loaded_does_not_start(monkeypatch):
    model, data = built("latent=gumbel_softmax", "model.num_classes=8")
    config = composed([*SMALL, "data.binarization=grey", "latent=gumbel_softmax", "model.num_classes=8"])
    monkeypatch.setattr(type(model), "start_from", lambda *_: pytest.fail("it started"))
    build_model(config, data, loaded=True)


@pytest.mark.parametrize("words", [["model.logits=free"], ["latent=fsq", "latent.levels=[3]"]])
def test_other_models_start_as_they_are(words):
    model, _ = built(*words)
    assert model.images_to_start == 0
