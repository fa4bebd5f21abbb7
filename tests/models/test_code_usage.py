"""Code usage: counts of classes over a data set, from collapsed to even."""

import pytest
import torch

from discrete_latents.models.code_usage import CodeUsage


def measured(codes, num_classes=4, batch_size=None):
    metric = CodeUsage(codes.shape[1], num_classes)
    for batch in codes.split(batch_size or len(codes)):
        metric.update(batch)
    return {name: value.item() for name, value in metric.compute().items()}


def test_a_collapsed_model_uses_one_class_of_k():
    assert measured(torch.full((50, 3), 2)) == {"code_usage": 0.25, "perplexity": pytest.approx(1)}


def test_an_even_model_uses_all_classes():
    codes = torch.arange(40).view(40, 1).repeat(1, 3) % 4
    assert measured(codes) == {"code_usage": 1, "perplexity": pytest.approx(4)}


def test_perplexity_is_the_exponential_of_the_entropy_averaged_over_latents():
    codes = torch.tensor([[0, 1], [0, 1], [0, 1], [3, 1]])
    entropy = torch.distributions.Categorical(torch.tensor([3 / 4, 1 / 4])).entropy()
    assert measured(codes) == {"code_usage": 3 / 8, "perplexity": pytest.approx((entropy.exp().item() + 1) / 2)}


def test_latents_are_counted_apart():
    """Each uses one class, and together they use all."""
    assert measured(torch.arange(4).repeat(20, 1)) == {"code_usage": 0.25, "perplexity": pytest.approx(1)}


@pytest.mark.parametrize("batch_size", [1, 7, 30])
def test_counts_add_up_over_batches(batch_size):
    codes = torch.randint(0, 4, (30, 3))
    assert measured(codes, batch_size=batch_size) == measured(codes)


def test_counts_are_exact():
    codes = torch.randint(0, 4, (30, 3))
    metric = CodeUsage(3, 4)
    metric.update(codes[:20])
    metric.update(codes[20:])
    expected = torch.stack([torch.bincount(latent, minlength=4) for latent in codes.T])
    assert torch.equal(metric.counts.long(), expected)


def test_a_reset_forgets():
    metric = CodeUsage(3, 4)
    metric.update(torch.zeros(10, 3, dtype=torch.long))
    metric.reset()
    metric.update(torch.ones(10, 3, dtype=torch.long))
    assert metric.compute()["code_usage"] == 0.25


def test_it_is_not_part_of_checkpoints():
    assert CodeUsage(3, 4).state_dict() == {}
