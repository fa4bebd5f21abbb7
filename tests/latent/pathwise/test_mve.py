"""MVE is exact where it is said to be and has the least variance of all that are, by sums over all states."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import MVE, ZGR, IntegerMVE, Pathwise, ReinMax, StraightThrough, layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import with_gradient_of
from tests.helpers.polynomials import SHAPES, is_exact, polynomial

PROBABILITIES = [[0.5, 0.3, 0.2], [0.97, 0.02, 0.01], [0.1, 0.2, 0.3, 0.4]]


def rule(estimator: Pathwise, logits: Tensor) -> Tensor:
    """∂z/∂logits as the estimator has it at each sample, (K samples, K, K)."""
    size = len(logits)
    leaf = logits.expand(size, -1).clone().requires_grad_()
    with patch(f"{type(estimator).__module__}.sample", lambda _: torch.eye(size, dtype=logits.dtype)):
        z = estimator(leaf)
    return torch.stack([torch.autograd.grad(z[:, i].sum(), leaf, retain_graph=True)[0] for i in range(size)], 1)


def least(pi: Tensor, slack: float | None) -> Tensor:
    """The same by brute force: all K · K numbers of S for each logit by themselves, from the conditions of the minimum
    of E‖S‖² + Σ_ij (π_i S(i)_j + π_j S(j)_i − 1[i = j] J_i)² / (2 slack), or with that error 0, and E S = J."""
    size = len(pi)
    jacobian = pi.diag() - pi.outer(pi)
    linear = torch.zeros(size, size, size, dtype=pi.dtype)
    quadratic = torch.zeros(size, size, size, size, dtype=pi.dtype)
    for i in range(size):
        for j in range(size):
            linear[j, i, j] = pi[i]
            quadratic[i, j, i, j] += pi[i]
            quadratic[i, j, j, i] += pi[j]
    linear, quadratic = linear.flatten(1), quadratic.flatten(0, 1).flatten(1)
    weight = pi.repeat_interleave(size)
    columns = []
    for k in range(size):
        error = jacobian[:, k].diag().flatten()
        if slack is None:
            conditions, values = torch.cat([linear, quadratic]), torch.cat([jacobian[:, k], error])
            scaled = conditions / weight.sqrt()
            columns.append(torch.linalg.pinv(scaled, rtol=1e-12) @ values / weight.sqrt())
        else:
            hessian = 2 * weight.diag() + quadratic.T @ quadratic / slack
            inverse = torch.linalg.inv(hessian)
            free = inverse @ quadratic.T @ error / slack
            multiplier = torch.linalg.solve(linear @ inverse @ linear.T, jacobian[:, k] - linear @ free)
            columns.append(free + inverse @ linear.T @ multiplier)
    return torch.stack(columns, -1).unflatten(0, (size, size))


@pytest.mark.parametrize("probabilities", PROBABILITIES, ids=str)
@pytest.mark.parametrize("slack", [None, 1e-6, 0.1, 10.0])
def test_it_has_the_least_variance_of_all_rules_that_are_exact(probabilities: list[float], slack: float | None):
    pi = torch.tensor(probabilities, dtype=torch.float64)
    logits = pi.log() + 0.7
    ours = rule(MVE(slack), logits)
    torch.testing.assert_close(ours, least(pi, slack), rtol=1e-6, atol=1e-8)
    if slack is None:
        second = (pi[:, None, None] * ours.square()).sum()
        assert second < 0.999 * (pi[:, None, None] * rule(ZGR(), logits).square()).sum()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_it_is_exact_for_quadratic_objectives_and_for_linear_ones_at_any_temperature(shape: tuple[int, int], kl: str):
    quadratic = polynomial(*shape, 2)
    assert is_exact(MVE(kl=kl), quadratic, shape)
    assert not is_exact(MVE(kl=kl), polynomial(*shape, 3), shape)
    assert is_exact(MVE(0.5, kl=kl), polynomial(*shape, 1), shape)
    assert not is_exact(MVE(0.5, kl=kl), quadratic, shape)


def test_it_goes_from_straight_through_to_exact_as_the_temperature_falls():
    logits = torch.tensor([0.5, -0.3, 0.9], dtype=torch.float64)
    torch.testing.assert_close(rule(MVE(1e9), logits), rule(StraightThrough(), logits), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(rule(MVE(1e-9), logits), rule(MVE(), logits), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [30.0, 0.0, -40.0], [0.0, -20.0, -19.0]], ids=str)
@pytest.mark.parametrize("slack", [None, 1e-3, 1e-6])
def test_a_class_that_is_hardly_there_costs_no_precision(logits: list[float], slack: float | None):
    """float32 against float64, from even classes to one of 1 − 1e-13; at each sample, or weighted by its probability
    where the constant of the potentials is known to float32's digits over ε."""
    wide = torch.tensor(logits, dtype=torch.float64)
    weight = 1 if slack is None else wide.softmax(-1)[:, None, None]
    ours, exact = rule(MVE(slack), wide.float()).double(), rule(MVE(slack), wide)
    torch.testing.assert_close(weight * ours, weight * exact, rtol=1e-3, atol=1e-5)


def test_reinmax_is_zgr():
    """At τ = 1 the two are one rule: π v / 2 + v_z (z − π) / 2 − (πᵀv) z / 2."""
    logits = torch.tensor([0.5, -0.3, 0.9, 0.0], dtype=torch.float64)
    torch.testing.assert_close(rule(ReinMax(), logits), rule(ZGR(), logits))


class Unscaled(Pathwise):
    """The mistake: the sampled number moves with its mean alone."""

    def rsample(self, logits: Tensor) -> Tensor:
        return with_gradient_of(layout.softmax(logits), sample(logits))


def in_the_number(degree: int):
    """Objectives of this degree in each of the numbers of two latents."""
    first, second = torch.randn(2, degree + 1, dtype=torch.float64)

    def value(z: Tensor) -> Tensor:
        numbers = z @ torch.arange(z.shape[-1], dtype=z.dtype)
        powers = torch.stack([numbers**power for power in range(degree + 1)], -1)
        return (powers[..., 0, :] @ first) * (powers[..., -1, :] @ second)

    return value


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_the_integer_form_is_exact_for_objectives_quadratic_in_each_number(kl: str):
    shape = (2, 4)
    assert is_exact(IntegerMVE(kl), in_the_number(2), shape)
    assert not is_exact(IntegerMVE(kl), in_the_number(3), shape)
    assert not is_exact(Unscaled(kl=kl), in_the_number(2), shape)
    assert is_exact(IntegerMVE(kl), polynomial(*shape, 1), shape)
    assert not is_exact(IntegerMVE(kl), polynomial(*shape, 2), shape)


def test_the_integer_form_has_the_least_variance_and_is_exact_for_all_quadratics_of_bits():
    """Of the number's slope, which is that of its mean plus a multiple of ε = z − m: nothing of less norm is exact."""
    pi = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    number = torch.arange(4, dtype=torch.float64)
    ours = torch.einsum("xik,i->xk", rule(IntegerMVE(), pi.log()), number)
    jacobian = pi.diag() - pi.outer(pi)
    conditions = torch.stack([pi, 2 * pi * number])
    values = torch.stack([number, number.square()]) @ jacobian
    weight = pi.sqrt()
    torch.testing.assert_close(ours, torch.linalg.pinv(conditions / weight) @ values / weight[:, None])
    assert is_exact(IntegerMVE(), polynomial(2, 2, 2), (2, 2))


def test_one_class_has_no_gradient():
    for estimator in (MVE(), MVE(0.5), IntegerMVE()):
        assert rule(estimator, torch.zeros(1, dtype=torch.float64)).abs().max() == 0
