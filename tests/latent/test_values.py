"""The mean of every bound on hard samples: estimators differ in their gradients, not in what they bound."""

import inspect

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import Estimator, HardBound
from tests.helpers.problems import LATENTS, Problem, make_estimator, standard_errors_off, traits

COPIES = 20_000
HARD = [name for name in LATENTS if not traits(name).relaxed and traits(name).law is None]
CASES = [(name, classes) for name in HARD for classes in (2, 3) if classes == 2 or not traits(name).bernoulli]


def settings(name: str) -> set[str]:
    return set(inspect.signature(type(traits(name))).parameters)


SEVERAL = [(name, classes) for name, classes in CASES if "samples" in settings(name)]


def log_weights(problem: Problem) -> tuple[Tensor, Tensor]:
    """log q and log w = log p(x, z) − log q(z) of all joint states of the layers, (C,) each."""

    def log_prob(state: Tensor, logits: Tensor) -> Tensor:
        return (state * logits.log_softmax(-1)).sum()

    log_qs, values = [], []
    for first in problem.states():
        log_q = log_prob(first, problem.biases[0])
        ratio = log_prob(first, problem.prior) - log_q
        if problem.layers == 1:
            log_qs.append(log_q)
            values.append(problem.log_likelihood(first) + ratio)
            continue
        for second in problem.states():
            log_qs.append(log_q + log_prob(second, problem.logits_below(1, first, problem.biases[1])))
            values.append(problem.log_likelihood(second) + ratio)
    return torch.stack(log_qs), torch.stack(values)


def exact_bound(problem: Problem, samples: int) -> Tensor:
    """E log (1/m) Σ w without a sum over all m-tuples of states: log s is the integral over t of (e^−t − e^−ts) / t
    (Frullani), the mean of e^−ts is the product of m means, and with t = e^u the trapezoidal rule is exact."""
    log_q, log_w = log_weights(problem)
    u = torch.linspace(-60, 60, 6001, dtype=torch.float64)
    transform = (log_q.exp() * (-(u[:, None] + log_w).exp() / samples).exp()).sum(-1)
    return torch.trapezoid((-u.exp()).exp() - transform**samples, u)


def make(name: str, samples: int) -> Estimator:
    """With m samples the KL is that of the samples."""
    sampled = {"kl": "sampled"} if "kl" in settings(name) else {}
    return make_estimator(name, samples=samples, **sampled)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_integral_is_the_bound_of_one_sample_and_that_of_hard_samples(layers: int):
    problem = Problem(2, 3, layers)
    torch.testing.assert_close(exact_bound(problem, 1), problem.exact_bound(problem.biases))
    for samples in (3, 5):
        values = HardBound(samples)(problem.objective(problem.leaves(COPIES)))
        assert standard_errors_off(values, exact_bound(problem, samples)) < 4
        assert standard_errors_off(values, exact_bound(problem, samples - 1)) > 8


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "classes"), CASES)
def test_the_mean_of_the_bound_is_the_exact_one(name: str, classes: int, layers: int):
    problem = Problem(2, classes, layers)
    estimator = make_estimator(name)
    values, _ = problem.estimates(estimator, COPIES)
    assert standard_errors_off(values, exact_bound(problem, estimator.samples)) < 4


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "classes"), SEVERAL)
def test_the_mean_of_the_bound_of_several_samples_is_the_exact_one(name: str, classes: int, layers: int):
    problem = Problem(2, classes, layers)
    values, _ = problem.estimates(make(name, 3), COPIES)
    assert standard_errors_off(values, exact_bound(problem, 3)) < 4


def test_there_are_estimators_of_both_kinds():
    """What is found by its settings could be nothing."""
    assert {"exact", "rebar", "st_gumbel"} <= set(HARD)
    assert {"reinforce", "st_gumbel", "vimco"} <= {name for name, _ in SEVERAL}
    assert traits("vimco").samples > 1
