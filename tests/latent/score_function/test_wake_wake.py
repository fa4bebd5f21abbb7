"""Wake–wake: the gradient by sums over all samples, and what it tends to as their number grows."""

from itertools import product

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import VIMCO, Exact, WakeWake
from discrete_latents.latent.gradients import multi_sample
from tests.helpers.problems import Problem, standard_errors_off

COPIES = 100_000


def expected(problem: Problem, samples: int) -> Tensor:
    """E Σ w̄ ∇log q for one layer, over all m-tuples of states."""
    (logits,) = problem.biases
    states = torch.stack(problem.states())
    log_q = (states * logits.log_softmax(-1)).sum((-1, -2))
    log_w = problem.log_likelihood(states)
    if problem.with_prior:
        log_w = log_w + (states * problem.prior.log_softmax(-1)).sum((-1, -2)) - log_q
    score = states - logits.softmax(-1)
    total = torch.zeros_like(logits)
    for drawn in product(range(len(states)), repeat=samples):
        chosen = list(drawn)
        weights = log_w[chosen].softmax(0)
        total = total + log_q[chosen].sum().exp() * (weights[:, None, None] * score[chosen]).sum(0)
    return total


@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize("samples", [2, 3])
def test_the_logits_follow_the_posterior(with_prior: bool, samples: int):
    problem = Problem(1, 3, with_prior=with_prior)
    gradients = problem.estimates(WakeWake(samples), COPIES)[1][0]
    assert standard_errors_off(gradients, expected(problem, samples)) < 4
    assert standard_errors_off(gradients, expected(problem, samples + 1)) > 8
    if with_prior:  # the bound's is another
        assert standard_errors_off(problem.estimates(VIMCO(samples), COPIES)[1][0], expected(problem, samples)) > 8


def test_many_samples_give_the_gradient_of_the_inclusive_divergence():
    problem = Problem(2, 3)
    (logits,) = problem.biases
    states = torch.stack(problem.states())
    joint = problem.log_likelihood(states) + (states * problem.prior.log_softmax(-1)).sum((-1, -2))
    towards = torch.einsum("s,snk->nk", joint.softmax(0), states) - logits.softmax(-1)
    gradients = problem.estimates(WakeWake(2000), 200)[1][0]
    assert (gradients.mean(0) - towards).norm() < 0.02 * towards.norm()


def test_the_posterior_is_where_it_rests():
    """At q = p(z | x) its mean is 0, from either side of it not."""
    problem = Problem(1, 3)
    posterior = problem.log_likelihood(torch.stack(problem.states())).unsqueeze(0) + problem.prior
    for factor, rests in ((1.0, True), (0.7, False), (1.3, False)):
        problem.biases = [factor * posterior]
        off = standard_errors_off(problem.estimates(WakeWake(3), COPIES)[1][0], torch.zeros(1, 3))
        assert (off < 4) == rests


def test_decoder_and_prior_follow_the_bound():
    problem = Problem(1, 3)
    trained = [problem.prior.requires_grad_(), problem.weight1.requires_grad_()]
    exact = torch.autograd.grad(Exact()(multi_sample(problem.objective(problem.leaves(1)), 2)).sum(), trained)
    bound = WakeWake(2)(problem.objective(problem.leaves(COPIES))).mean()
    for ours, theirs in zip(torch.autograd.grad(bound, trained), exact, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_at_least_two_samples():
    with pytest.raises(ValueError, match="samples must be a whole number of at least 2"):
        WakeWake(1)
