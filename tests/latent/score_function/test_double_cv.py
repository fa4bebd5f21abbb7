"""Double control variates: what they are exact for, less variance than RLOO, and mistakes that enumeration notices."""

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import RLOO, DoubleCV, Estimator
from discrete_latents.latent.score_function.trace import Site
from tests.helpers.problems import Problem
from tests.latent.score_function.test_unbiased import worst

PROBLEM = Problem(2, 3)


class Smooth(Problem):
    """Almost linear in z, so that gradients at one sample say something about others."""

    def log_likelihood(self, z: Tensor) -> Tensor:
        return (z.flatten(-2) @ self.weight1 / 4).tanh() @ self.weight2


SMOOTH = Smooth(2, 3)


def gradients(estimator: Estimator, copies: int = 20_000) -> Tensor:
    return SMOOTH.estimates(estimator, copies)[1][0]


def trained(estimator: Estimator, steps: int, copies: int) -> Estimator:
    """What an estimator tunes on the variance, after some steps."""
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (-estimator(SMOOTH.objective(SMOOTH.leaves(copies)))).sum().backward()
        optimizer.step()
    return estimator.eval()


def test_a_linear_objective_has_its_gradient_without_noise_at_eta_1():
    logits = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, dtype=torch.float64)
    for scale, exact in ((1.0, True), (0.5, False)):
        bound = DoubleCV(draws=2, scale=scale).eval()(lambda sample: (sample(logits) * weight).sum((-1, -2)))
        (ours,) = torch.autograd.grad(bound.sum(), logits)
        (expected,) = torch.autograd.grad((logits.softmax(-1) * weight).sum(), logits)
        assert torch.allclose(ours, expected) == exact


def test_it_is_rloo_at_eta_0():
    torch.manual_seed(0)
    ours = gradients(DoubleCV(draws=3, scale=0.0).eval(), 50)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, gradients(RLOO(draws=3), 50))


def test_its_eta_is_trained_to_less_variance_than_rloos():
    torch.manual_seed(0)
    estimator = trained(DoubleCV(draws=2, scale=0.0), steps=100, copies=500)
    assert 0.5 < estimator.scale.item() < 1.5
    ours, plain = gradients(estimator), gradients(RLOO(draws=2))
    assert ours.var(0).sum() < 0.5 * plain.var(0).sum()


class OwnSlope(DoubleCV):
    """The gradient at the draw itself is in its control variate, whose mean is then not what is added."""

    def gradient(self, site: Site, signal: Tensor, slope: Tensor) -> Tensor:
        return super().gradient(site, signal, slope.mean(0).expand_as(slope))


class NotAdded(DoubleCV):
    """The mean of the control variate is left out."""

    def gradient(self, site: Site, signal: Tensor, slope: Tensor) -> Tensor:
        others = (slope.sum(0) - slope) / (self.draws - 1)
        mean = site.logits.detach().softmax(-1)
        known = mean * (others - (mean * others).sum(-1, keepdim=True))
        return super().gradient(site, signal, slope) - self.scale * known


@pytest.mark.parametrize("wrong", [OwnSlope(2, 1.0), NotAdded(2, 1.0)], ids=lambda wrong: type(wrong).__name__)
def test_a_mistake_is_noticed(wrong: DoubleCV):
    assert worst(wrong.eval(), PROBLEM) > 8
