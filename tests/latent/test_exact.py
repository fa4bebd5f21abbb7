"""Exact enumeration against a plain loop over all states."""

import pytest
import torch

from discrete_latents.latent import Exact
from tests.helpers.problems import Problem

PROBLEMS = [
    Problem(1, 2),
    Problem(3, 2),
    Problem(2, 5),
    Problem(2, 3, with_prior=False),
    Problem(1, 3, layers=2),
    Problem(2, 2, layers=3),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_value_and_gradient_are_those_of_the_loop(problem: Problem):
    values, gradients = problem.estimates(Exact(), copies=2)
    torch.testing.assert_close(values, problem.exact_bound(problem.biases).expand(2))
    for gradient, expected in zip(gradients, problem.exact_gradients(), strict=True):
        torch.testing.assert_close(gradient, expected.expand_as(gradient))


def test_two_independent_sample_calls_are_enumerated_jointly():
    logits_a, logits_b = torch.randn(2, 3, 1, 4, dtype=torch.float64).unbind()
    values = torch.randn(4, 4, dtype=torch.float64)

    def objective(sample):
        a, b = sample(logits_a), sample(logits_b)
        return torch.einsum("...i,ij,...j->...", a[..., 0, :], values, b[..., 0, :])

    expected = torch.einsum("bi,ij,bj->b", logits_a[:, 0].softmax(-1), values, logits_b[:, 0].softmax(-1))
    torch.testing.assert_close(Exact()(objective), expected)


def test_the_gradient_reaches_the_prior():
    problem = Problem(2, 3)
    problem.prior.requires_grad_()
    bound = Exact()(problem.objective(problem.leaves(1)))
    expected = torch.autograd.grad(problem.exact_bound(problem.biases), problem.prior)[0]
    torch.testing.assert_close(torch.autograd.grad(bound.sum(), problem.prior)[0], expected)


@pytest.mark.parametrize(("problem", "count"), [(Problem(20, 10), "1e\\+20"), (Problem(5, 3, layers=2), "5.9e\\+04")])
def test_more_configurations_than_allowed_are_refused_before_memory_is_taken(problem: Problem, count: str):
    with pytest.raises(ValueError, match=f"takes {count} configurations; allowed: at most max_configurations = 4096"):
        Exact(max_configurations=4096)(problem.objective(problem.leaves(1)))
