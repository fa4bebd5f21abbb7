"""Densities, samples and divergences against integration, torch.distributions and counting."""

import math

import pytest
import torch
from torch.distributions import RelaxedOneHotCategorical, kl_divergence
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from discrete_latents.latent import distributions
from discrete_latents.latent.distributions import (
    categorical_kl,
    categorical_log_prob,
    exp_concrete,
    exp_concrete_log_prob,
    gumbel_like,
    mixed_with_uniform,
    sample_codes,
)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.0])
def test_the_density_of_two_classes_integrates_to_one(temperature: float):
    """Over y1, with y2 = log(1 − exp y1): dz1 = exp(y1) dy1 and the density of z is κ(y) / (z1 z2)."""
    logits = torch.tensor([[0.8, -0.5]], dtype=torch.float64)
    log_odds = torch.linspace(-120, 120, 400_001, dtype=torch.float64)
    y = torch.stack([-torch.nn.functional.softplus(-log_odds), -torch.nn.functional.softplus(log_odds)], -1)
    # z1 = σ(t), so dz1 = z1 z2 dt, which cancels the Jacobian of y to z.
    density = exp_concrete_log_prob(y.unsqueeze(-2), logits, temperature).exp()
    assert torch.trapezoid(density, log_odds) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
def test_the_density_of_three_classes_integrates_to_one(temperature: float):
    logits = torch.tensor([[0.8, -0.5, 0.2]], dtype=torch.float64)
    axis = torch.linspace(-40, 40, 1201, dtype=torch.float64)
    free = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    y = torch.cat([free, torch.zeros_like(free[..., :1])], -1).log_softmax(-1)
    # In the coordinates (t1, t2, 0), dz1 dz2 = z1 z2 z3 dt1 dt2, which cancels the Jacobian of y to z.
    density = exp_concrete_log_prob(y.unsqueeze(-2), logits, temperature).exp()
    assert torch.trapezoid(torch.trapezoid(density, axis), axis) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_the_density_is_torchs_where_that_is_finite(temperature: float, num_classes: int):
    logits = torch.randn(7, 4, num_classes, dtype=torch.float64)
    y = exp_concrete(logits, temperature)
    tau = torch.tensor(temperature, dtype=torch.float64)
    ours = exp_concrete_log_prob(y, logits, temperature)
    torch.testing.assert_close(ours, ExpRelaxedCategorical(tau, logits=logits).log_prob(y).sum(-1))
    of_z = RelaxedOneHotCategorical(tau, logits=logits).log_prob(y.exp())
    torch.testing.assert_close(ours, (of_z + y.sum(-1)).sum(-1))


@pytest.mark.parametrize("temperature", [0.1, 0.05, 0.001])
def test_the_density_is_finite_at_low_temperatures_where_torchs_is_not(temperature: float):
    logits = torch.randn(10_000, 1, 10, requires_grad=True)
    y = exp_concrete(logits, temperature)
    log_density = exp_concrete_log_prob(y, logits, temperature)
    (gradient,) = torch.autograd.grad(log_density.sum(), logits)
    assert log_density.isfinite().all()
    assert gradient.isfinite().all()
    # Why it is computed in log space: the density of z itself overflows.
    reference = RelaxedOneHotCategorical(torch.tensor(temperature), logits=logits, validate_args=False)
    assert not reference.log_prob(reference.sample()).isfinite().all()


def test_the_kl_is_zero_for_equal_and_log_k_for_certain():
    uniform = torch.zeros(3, 10)
    certain = torch.full((5, 3, 10), -1e4)
    certain[..., 4] = 1e4
    torch.testing.assert_close(categorical_kl(torch.full((5, 3, 10), 7.0), uniform), torch.zeros(5))
    torch.testing.assert_close(categorical_kl(certain, uniform), torch.full((5,), 3 * math.log(10)))


def test_the_kl_has_the_right_sign_direction_and_scale():
    logits, prior = torch.randn(6, 3, 4), torch.randn(3, 4)
    expected = kl_divergence(
        torch.distributions.Categorical(logits=logits), torch.distributions.Categorical(logits=prior)
    )
    torch.testing.assert_close(categorical_kl(logits, prior), expected.sum(-1))


def test_log_probabilities_are_those_of_torch():
    logits = torch.randn(6, 3, 4)
    codes = torch.randint(4, (6, 3))
    z = torch.nn.functional.one_hot(codes, 4).float()
    expected = torch.distributions.Categorical(logits=logits).log_prob(codes).sum(-1)
    torch.testing.assert_close(categorical_log_prob(z, logits), expected)


def test_gumbel_noise_has_its_moments_and_its_tails():
    noise = gumbel_like(torch.empty(2_000_000, 1))
    assert noise.mean() == pytest.approx(0.5772157, abs=4 * 1.2825 / 2_000_000**0.5)
    assert noise.var() == pytest.approx(math.pi**2 / 6, rel=0.01)
    assert noise.max() > 12  # P(max of 2 million < 12) = exp(-2e6 e^-12) = 5e-6; float16 stops at 7.6
    assert noise.isfinite().all()


def test_gumbel_noise_is_finite_where_the_uniform_draw_is_zero(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.zeros(*shape, **kind))
    torch.testing.assert_close(gumbel_like(torch.empty(4, 3)), torch.full((4, 3), -4.4698), atol=1e-3, rtol=0)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_codes_are_drawn_with_their_probabilities(num_classes: int):
    logits = torch.randn(2, 3, num_classes) * 2
    count = 200_000
    codes = sample_codes(logits, count)
    assert codes.shape == (count, 2, 3)
    probability = logits.softmax(-1)
    frequency = torch.stack([(codes == k).float().mean(0) for k in range(num_classes)], -1)
    error = (probability * (1 - probability) / count).sqrt()
    assert ((frequency - probability).abs() < 4.5 * error + 1e-6).all()


def test_a_class_without_probability_is_never_drawn():
    logits = torch.tensor([[-1e4, 0.0, -1e4, 0.0, -1e4]])
    assert set(sample_codes(logits, 100_000).unique().tolist()) == {1, 3}


def test_a_class_without_probability_is_not_drawn_where_the_uniform_draw_is_zero(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **kind: torch.zeros(*shape, **kind))
    assert sample_codes(torch.tensor([[-1e4, 0.0, 0.0]]), 4).tolist() == [[1]] * 4


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_a_mixture_with_the_uniform_distribution_is_that_of_probabilities(share):
    logits = 30 * torch.randn(5, 4, 3, dtype=torch.float64)
    expected = (1 - share) * logits.softmax(-1) + share / 3
    torch.testing.assert_close(mixed_with_uniform(logits, share).exp(), expected)


def test_a_masked_class_has_no_part_of_the_uniform_distribution():
    logits = torch.tensor([[0.0, 50.0, -math.inf]])
    mixed = mixed_with_uniform(logits, 0.2)
    torch.testing.assert_close(mixed.exp(), torch.tensor([[0.1, 0.9, 0.0]]))


def test_without_a_share_logits_are_as_they_were():
    logits = torch.randn(2, 3, 4)
    assert mixed_with_uniform(logits, 0) is logits


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("batch", [(), (2,), (0,)])
def test_codes_of_many_classes_are_drawn_a_few_latents_at_a_time_with_the_same_result(shape, batch, monkeypatch):
    torch.manual_seed(0)
    logits = torch.randn(*batch, 7, 40)
    found = []
    for many, in_cache in ((1000, 1), (40, 1), (40, 100), (40, 10**6)):
        monkeypatch.setattr(distributions, "MANY_CLASSES", many)
        monkeypatch.setattr(distributions, "IN_CACHE", in_cache)
        torch.manual_seed(1)
        found.append(sample_codes(logits, *shape))
    assert found[0].shape == (*shape, *batch, 7)
    assert all(torch.equal(found[0], other) for other in found[1:])
