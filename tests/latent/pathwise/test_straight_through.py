"""Straight-through estimators. Where only the sample is random, the mean gradient is the sum over all samples."""

import math
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent import DecoupledSTGumbel, GappedStraightThrough, STGumbel, StraightThrough
from discrete_latents.latent.distributions import gumbel_like
from tests.helpers.polynomials import SHAPES, is_exact, polynomial
from tests.helpers.problems import Problem, standard_errors_off

LOGITS = torch.tensor([1.0, -0.5, 0.3])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_straight_through_is_exact_for_linear_objectives_only(shape: tuple[int, int], kl: str):
    assert is_exact(StraightThrough(kl=kl), polynomial(*shape, 1), shape)
    assert not is_exact(StraightThrough(kl=kl), polynomial(*shape, 2), shape)
    assert not is_exact(StraightThrough(0.5, kl=kl), polynomial(*shape, 1), shape)


def test_straight_through_is_exact_for_interactions_that_are_linear_in_each_latent():
    left, middle, right = torch.randn(3, 3, dtype=torch.float64)

    def value(z: Tensor) -> Tensor:
        return (z[..., 0, :] @ left) * (z[..., 1, :] @ middle) * (z[..., 2, :] @ right)

    assert is_exact(StraightThrough(), value, (3, 3))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_slope_of_the_softmax_meets_that_of_the_objective_at_the_sample(temperature: float):
    problem = Problem(2, 3)
    logits = torch.randn(50, 2, 3, dtype=torch.float64, requires_grad=True)
    z = StraightThrough(temperature)(logits)
    z.retain_grad()
    problem.log_likelihood(z).sum().backward()
    hard = z.detach().requires_grad_()
    slope = torch.autograd.grad(problem.log_likelihood(hard).sum(), hard)[0]
    expected = torch.autograd.grad(((logits / temperature).softmax(-1) * slope).sum(), logits)[0]
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("temperature", [0.2, 3.0])
def test_samples_of_annealed_straight_through_are_the_models(temperature: float):
    z = StraightThrough(temperature)(LOGITS.expand(100_000, 1, 3))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), LOGITS.softmax(-1)) < 4


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_decoupled_st_gumbel_with_a_forward_temperature_of_one_is_st_gumbel(temperature: float):
    problem = Problem(2, 3, layers=2)
    results = []
    for estimator in (STGumbel(temperature), DecoupledSTGumbel(temperature, forward_temperature=1.0)):
        torch.manual_seed(1)
        results.append(problem.estimates(estimator, 1000))
    (values, gradients), (decoupled_values, decoupled_gradients) = results
    assert torch.equal(values, decoupled_values)
    assert all(map(torch.equal, gradients, decoupled_gradients))


@pytest.mark.parametrize("forward_temperature", [0.3, 2.0])
@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_decoupled_st_gumbel_samples_at_the_forward_temperature(forward_temperature: float, temperature: float):
    z = DecoupledSTGumbel(temperature, forward_temperature)(LOGITS.expand(100_000, 1, 3))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), (LOGITS / forward_temperature).softmax(-1)) < 4


@pytest.mark.parametrize("forward_temperature", [0.3, 2.0])
def test_decoupled_st_gumbel_has_the_slope_of_the_softmax_at_its_own_noise(forward_temperature: float):
    """The noise is the same in both directions; the forward temperature has no part in the softmax."""
    logits = torch.randn(50, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, dtype=torch.float64)
    torch.manual_seed(1)
    bound = DecoupledSTGumbel(0.7, forward_temperature)(lambda sample: (sample(logits) * weight).sum((-1, -2)))
    torch.manual_seed(1)
    noise = gumbel_like(logits)
    hard = F.one_hot((logits / forward_temperature + noise).argmax(-1), 3)
    torch.testing.assert_close(bound, (hard * weight).sum((-1, -2)))
    soft = ((logits + noise) / 0.7).softmax(-1)
    expected = torch.autograd.grad((soft * weight).sum(), logits)[0]
    torch.testing.assert_close(torch.autograd.grad(bound.sum(), logits)[0], expected)


@pytest.mark.parametrize("forward_temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_forward_temperature_that_is_not_positive_is_refused(forward_temperature: float):
    with pytest.raises(ValueError, match="forward_temperature must be a number greater than 0"):
        DecoupledSTGumbel(1.0, forward_temperature)


def gapped(logits: list[float], drawn: int, temperature: float, gap: float) -> Tensor:
    """The Jacobian of what GST draws, (K, K), where the class is given."""
    leaf = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    hard = F.one_hot(torch.tensor([drawn]), len(logits)).double()
    with patch("discrete_latents.latent.pathwise.gapped_straight_through.sample", lambda _: hard):
        z = GappedStraightThrough(temperature, gap)(leaf)
    assert torch.equal(z, hard)
    rows = [torch.autograd.grad(z[0, k], leaf, retain_graph=True)[0][0] for k in range(len(logits))]
    return torch.stack(rows)


def softmax_jacobian(logits: list[float], temperature: float) -> Tensor:
    p = (torch.tensor(logits, dtype=torch.float64) / temperature).softmax(-1)
    return (p.diag() - p.outer(p)) / temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize(
    ("drawn", "gap", "shifted"),
    [
        (0, 1.0, [2.0, 1.0, -1.0]),  # class 1 is 0.5 below, class 2 far enough
        (1, 1.0, [1.0, 2.0, -1.0]),
        (2, 1.0, [1.0, 1.0, 2.0]),
        (2, 4.0, [-2.0, -2.0, 2.0]),
        (0, 0.25, [2.0, 1.5, -1.0]),  # it leads already
    ],
)
def test_gapped_straight_through_has_the_slope_of_the_softmax_at_logits_that_leave_the_gap(
    drawn: int, gap: float, shifted: list[float], temperature: float
):
    """By hand, from the logits (2, 3/2, −1). That of a constant shift: a shift that moved with the logits would break
    the Jacobian's symmetry."""
    jacobian = gapped([2.0, 1.5, -1.0], drawn, temperature, gap)
    torch.testing.assert_close(jacobian, softmax_jacobian(shifted, temperature))


@pytest.mark.parametrize("gap", [0.1, 1.0, 3.0])
def test_the_gap_is_left_exactly_whatever_the_logits(gap: float):
    """Off its diagonal the Jacobian is −p_i p_j / τ, so that a ratio of two entries is one of probabilities."""
    for logits in torch.randn(50, 3, dtype=torch.float64).mul(2).tolist():
        gaps = []
        for drawn, second, third in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            jacobian = gapped(logits, drawn, 0.7, gap)
            gaps.append(0.7 * (jacobian[drawn, third] / jacobian[second, third]).log())
            gaps.append(0.7 * (jacobian[drawn, second] / jacobian[third, second]).log())
        assert min(gaps) == pytest.approx(gap, abs=1e-6)


def test_gapped_straight_through_is_straight_through_where_the_sample_leads_by_the_gap():
    logits = torch.tensor([[3.0, 1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    z = StraightThrough(0.7)(logits)
    rows = [torch.autograd.grad(z[0, k], logits, retain_graph=True)[0][0] for k in range(3)]
    torch.testing.assert_close(gapped([3.0, 1.0, 0.5], 0, 0.7, gap=1.0), torch.stack(rows))
    assert not torch.allclose(gapped([3.0, 1.0, 0.5], 0, 0.7, gap=2.1), torch.stack(rows))


def test_samples_of_gapped_straight_through_are_the_models():
    z = GappedStraightThrough(0.2, gap=3.0)(LOGITS.expand(100_000, 1, 3))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), LOGITS.softmax(-1)) < 4
