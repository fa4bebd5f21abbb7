"""Evaluation with hard samples, whatever trained the model."""

import math

import pytest
import torch

from discrete_latents.latent import HardBound, HardSampler
from tests.helpers.problems import Problem, standard_errors_off


@pytest.mark.parametrize("layers", [1, 2])
def test_one_sample_has_the_exact_bound_as_its_mean(layers: int):
    problem = Problem(2, 3, layers=layers)
    exact = problem.exact_bound(problem.biases)
    values = HardBound(1)(problem.objective(problem.leaves(100_000)))
    assert standard_errors_off(values, exact) < 4
    sampler = HardSampler()
    analytic = problem.objective(problem.leaves(100_000))(sampler) - sampler.kl
    assert standard_errors_off(analytic.detach(), exact) < 4


def test_the_bound_rises_with_m_to_the_log_likelihood():
    problem = Problem(2, 3)
    states = torch.stack(problem.states())
    log_prior = (states * problem.prior.log_softmax(-1)).sum((-1, -2))
    log_likelihood = (problem.log_likelihood(states) + log_prior).logsumexp(0)
    means = [HardBound(m)(problem.objective(problem.leaves(20_000))).mean().item() for m in (1, 2, 5, 25, 500)]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(log_likelihood.item(), abs=0.01)
    assert means[0] < log_likelihood - 0.1


def test_it_is_the_log_of_the_mean_and_not_the_mean_of_the_logs():
    values = torch.tensor([1.0, 5.0])
    logits = torch.zeros(50_000, 1, 2)
    bound = HardBound(2)(lambda sample: (sample(logits) * values).sum((-1, -2)))
    expected = 0.25 * 1 + 0.25 * 5 + 0.5 * math.log((math.exp(1) + math.exp(5)) / 2)
    assert standard_errors_off(bound, torch.tensor(expected)) < 4
    assert expected - values.mean() > 0.6


@pytest.mark.parametrize(("samples", "chunk"), [(7, 3), (7, 7), (7, 100), (1, 1)])
def test_chunks_hold_all_samples_and_nothing_else(samples: int, chunk: int):
    seen = []

    def objective(sample):
        z = sample(torch.zeros(2, 1, 3), prior=torch.zeros(1, 3))
        seen.append(len(z))
        return z[..., 0, 0] * 0 + 1.5

    torch.testing.assert_close(HardBound(samples, chunk)(objective), torch.full((2,), 1.5))
    assert sum(seen) == samples
    assert max(seen) <= chunk


def test_samples_are_one_hot_remembered_and_without_gradient():
    logits = torch.randn(5, 3, 4, requires_grad=True)
    sampler = HardSampler((6,))
    z = sampler(logits)
    assert z.shape == (6, 5, 3, 4)
    assert not z.requires_grad
    assert torch.equal(z.argmax(-1), sampler.codes[0])
    assert torch.equal(z.sum(-1), torch.ones(6, 5, 3))
