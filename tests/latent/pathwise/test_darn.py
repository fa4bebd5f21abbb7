"""DARN's estimator: exact where it is said to be, by sums over all states, and by hand."""

from unittest.mock import patch

import pytest
import torch
from torch.nn import functional as F

from discrete_latents.latent import Darn
from tests.helpers.polynomials import SHAPES, is_exact, polynomial
from tests.helpers.problems import Problem, standard_errors_off

BITS = [(1, 2), (2, 2), (4, 2)]


@pytest.mark.parametrize("shape", BITS, ids=str)
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_it_is_exact_for_quadratic_objectives_of_bits(shape: tuple[int, int], kl: str):
    assert is_exact(Darn(kl), polynomial(*shape, 2), shape)
    assert not is_exact(Darn(kl), polynomial(*shape, 3), shape)


def test_it_is_exact_for_objectives_that_are_quadratic_in_each_bit():
    """What counts is the order in one latent: this one is of fourth order in all."""
    first, second = polynomial(1, 2, 2), polynomial(1, 2, 2)
    assert is_exact(Darn(), lambda z: first(z[..., :1, :]) * second(z[..., 1:, :]), (2, 2))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 2], ids=str)
def test_with_more_classes_it_is_exact_for_linear_objectives_only(shape: tuple[int, int]):
    assert is_exact(Darn(), polynomial(*shape, 1), shape)
    assert not is_exact(Darn(), polynomial(*shape, 2), shape)


@pytest.mark.parametrize("drawn", [(0, 0), (1, 2), (2, 1)])
def test_the_gradient_by_hand(drawn: tuple[int, int]):
    """f′(z)ᵀ(z − u) (z − π), each latent by itself."""
    problem = Problem(2, 3, with_prior=False)
    z = F.one_hot(torch.tensor([drawn]), 3).double()
    with patch("discrete_latents.latent.pathwise.darn.sample", lambda _: z):
        values, (gradient,) = problem.estimates(Darn(), copies=1)
    torch.testing.assert_close(values, problem.log_likelihood(z))
    leaf = z.clone().requires_grad_()
    slope = torch.autograd.grad(problem.log_likelihood(leaf).sum(), leaf)[0]
    for n, (code, probabilities) in enumerate(zip(drawn, problem.biases[0].softmax(-1), strict=True)):
        signal = slope[0, n, code] - sum(slope[0, n, k] / 3 for k in range(3))
        for k in range(3):
            torch.testing.assert_close(gradient[0, n, k], signal * (float(k == code) - probabilities[k]))


def test_samples_are_the_models():
    logits = torch.tensor([1.0, -0.5, 0.3])
    z = Darn()(logits.expand(100_000, 1, 3))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), logits.softmax(-1)) < 4
