"""REINFORCE, RLOO and VIMCO by hand, on what they were given to draw."""

import math

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import RLOO, VIMCO, Estimator, Reinforce
from tests.helpers.problems import Problem

K = 4
VALUES = torch.tensor([1.0, -2.0, 0.5, 4.0])


def drawn(estimator: Estimator, logits: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """What one latent an image drew, the bound, and its gradient for the logits."""
    seen: list[Tensor] = []

    def objective(sample):
        seen.append(sample(logits, prior=prior).squeeze(-2))
        return (seen[0] * VALUES).sum(-1)

    bound = estimator(objective)
    return seen[0], bound.detach(), torch.autograd.grad(bound.sum(), logits)[0].squeeze(-2)


def leaf(images: int = 6) -> Tensor:
    return torch.randn(images, 1, K, requires_grad=True)


def test_reinforce_is_the_value_times_the_score():
    logits = leaf()
    z, bound, gradient = drawn(Reinforce(), logits)
    torch.testing.assert_close(bound, z @ VALUES)
    torch.testing.assert_close(gradient, bound.unsqueeze(-1) * (z - logits.detach().squeeze(1).softmax(-1)))


def test_the_analytic_kl_is_differentiated_and_not_scored():
    logits, prior = leaf(), torch.randn(1, K)
    z, bound, gradient = drawn(Reinforce(), logits, prior)
    log_ratio = logits.log_softmax(-1) - prior.log_softmax(-1)
    kl = (logits.softmax(-1) * log_ratio).sum((-1, -2))
    torch.testing.assert_close(bound, (z @ VALUES - kl).detach())
    slope = torch.autograd.grad(-kl.sum(), logits)[0].squeeze(1)
    score = z - logits.detach().squeeze(1).softmax(-1)
    torch.testing.assert_close(gradient, (z @ VALUES).unsqueeze(-1) * score + slope)


def test_rloo_with_two_draws_is_half_the_difference_of_both():
    """((f₁ − f₂) s₁ + (f₂ − f₁) s₂) / 2, with s₁ − s₂ = z₁ − z₂."""
    logits = leaf(50)
    z, bound, gradient = drawn(RLOO(draws=2), logits)
    values = z @ VALUES
    torch.testing.assert_close(bound, values.mean(0))
    torch.testing.assert_close(gradient, (values[0] - values[1]).unsqueeze(-1) * (z[0] - z[1]) / 2)


def test_rloo_is_the_mean_over_draws_each_less_the_mean_of_the_others():
    logits = leaf()
    z, _, gradient = drawn(RLOO(draws=5), logits)
    values, score = z @ VALUES, z - logits.detach().squeeze(1).softmax(-1)
    expected = torch.zeros(6, K)
    for draw in range(5):
        others = torch.stack([values[other] for other in range(5) if other != draw])
        expected += (values[draw] - others.mean(0)).unsqueeze(-1) * score[draw] / 5
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("samples", [2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_vimcos_bound_without_each_is_that_of_a_loop(samples: int, scale: float):
    log_weights = torch.randn(samples, 5, dtype=torch.float64) * scale
    expected = torch.empty_like(log_weights)
    for image in range(5):
        for left_out in range(samples):
            weights = log_weights[:, image].tolist()
            others = weights[:left_out] + weights[left_out + 1 :]
            weights[left_out] = sum(others) / len(others)
            largest = max(weights)
            total = sum(math.exp(weight - largest) for weight in weights)
            expected[left_out, image] = largest + math.log(total / samples)
    torch.testing.assert_close(VIMCO(samples).without_each(log_weights), expected)


@pytest.mark.parametrize("with_prior", [False, True])
def test_vimcos_gradient_is_scores_of_each_and_the_slope_of_the_bound(with_prior: bool):
    logits, prior = leaf(), torch.randn(1, K) if with_prior else None
    estimator = VIMCO(3)
    z, bound, gradient = drawn(estimator, logits, prior)
    log_weights = z @ VALUES
    if prior is not None:
        log_weights = log_weights - (z * (logits.log_softmax(-1) - prior.log_softmax(-1)).squeeze(1)).sum(-1)
    expected = log_weights.exp().mean(0).log()
    torch.testing.assert_close(bound, expected.detach())
    signal = (expected - estimator.without_each(log_weights)).detach()
    log_q = (z * logits.log_softmax(-1).squeeze(1)).sum(-1)
    slope = torch.autograd.grad((expected + (signal * log_q).sum(0)).sum(), logits)[0]
    torch.testing.assert_close(gradient, slope.squeeze(1))


@pytest.mark.parametrize("estimator", [Reinforce(samples=3), VIMCO(3), RLOO(3)])
def test_the_same_draws_have_no_signal_where_the_objective_is_constant_but_for_reinforces(estimator: Estimator):
    logits = leaf()
    bound = estimator(lambda sample: sample(logits).sum((-1, -2)) * 0 + 2.0)
    torch.testing.assert_close(bound.detach(), torch.full((6,), 2.0))
    gradient = torch.autograd.grad(bound.sum(), logits)[0]
    assert bool(gradient.abs().max() > 1e-5) == isinstance(estimator, Reinforce)


def test_what_the_others_know_lowers_the_variance():
    """Far from zero, where a signal without baseline is mostly its mean; one draw costs a quarter of four."""
    problem = Problem(2, 3)
    logits = problem.biases[0].expand(5000, -1, -1).clone().requires_grad_()

    def variance(estimator: Estimator) -> float:
        bound = estimator(lambda sample: problem.log_likelihood(sample(logits)) - 20)
        return torch.autograd.grad(bound.sum(), logits)[0].var(0).sum().item()

    assert variance(RLOO(4)) < variance(Reinforce()) / 4 / 10
    assert variance(VIMCO(4)) < variance(Reinforce(samples=4)) / 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RLOO(draws=1), "draws must be a whole number of at least 2, got 1"),
        (lambda: VIMCO(samples=1), "samples must be a whole number of at least 2, got 1"),
        (lambda: VIMCO(samples=True), "samples must be a whole number of at least 2, got True"),
        (lambda: Reinforce(samples=0), "samples must be a whole number of at least 1, got 0"),
    ],
)
def test_settings_without_sense_are_refused_in_one_line(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
