"""Shapes of latents, and what networks read of them."""

import pytest
import torch

from discrete_latents.latent import layout


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_logits_and_units_have_the_width_of_the_latents(num_classes: int):
    width = layout.width(6, num_classes)
    logits = layout.to_logits(torch.randn(4, 5, width), num_classes)
    assert logits.shape == (4, 5, 6, num_classes)
    assert layout.to_units(logits.softmax(-1)).shape == (4, 5, width)


def test_units_undo_the_layout_of_the_logits():
    features = torch.randn(5, 12)
    assert torch.equal(layout.to_units(layout.to_logits(features, 3)), features)


def test_a_bernoulli_latent_is_one_unit_of_minus_or_plus_one():
    features = torch.tensor([[-2.0, 0.0, 3.0]])
    logits = layout.to_logits(features, 2)
    torch.testing.assert_close(logits.softmax(-1)[..., 1], features.sigmoid())
    assert layout.to_units(layout.one_hot(torch.tensor([[0, 1, 1]]), 2, torch.float32)).tolist() == [[-1, 1, 1]]


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
def test_softmax_is_over_the_classes_whatever_the_strides(shape):
    x = torch.randn(shape)
    transposed = x.transpose(-1, -2).contiguous().transpose(-1, -2) if x.dim() > 1 else x
    for values in (x, transposed):
        torch.testing.assert_close(layout.softmax(values), x.softmax(-1))
        torch.testing.assert_close(layout.log_softmax(values), x.log_softmax(-1))
        torch.testing.assert_close(layout.logsumexp(values), x.logsumexp(-1))


def test_logits_of_a_network_lie_in_memory_as_the_kernels_want_them():
    logits = layout.to_logits(torch.randn(4, 30), 10)
    assert layout.classes_first(logits).is_contiguous()
    assert layout.classes_first(layout.softmax(logits)).is_contiguous()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_one_hot_is_torchs(shape):
    codes = torch.randint(4, shape)
    expected = torch.nn.functional.one_hot(codes, 4).float()
    assert torch.equal(layout.one_hot(codes, 4, torch.float32), expected)


def test_log_mean_exp_is_over_all_sample_dimensions():
    log_weights = torch.randn(3, 4, 5)
    expected = log_weights.flatten(0, 1).exp().mean(0).log()
    torch.testing.assert_close(layout.log_mean_exp(log_weights), expected)
    torch.testing.assert_close(layout.log_mean_exp(log_weights[0, 0]), log_weights[0, 0])
    assert layout.log_mean_exp(torch.full((3, 2), -2000.0)).isfinite().all()
