"""ZGR is exact to second order, by sums over all states, and each half alone is not; it is the cold Gumbel-Rao."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import ZGR, GumbelRao, StraightThrough, layout
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.pathwise.base import Pathwise, score, with_gradient_of
from tests.helpers.polynomials import SHAPES, is_exact, polynomial
from tests.helpers.problems import Problem


class ScoreHalf(Pathwise):
    """The other half: the score function with its baseline around the sample."""

    def rsample(self, logits: Tensor) -> Tensor:
        z = sample(logits)
        return with_gradient_of((z - layout.softmax(logits.detach())) * score(logits, z), z)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_it_is_exact_for_quadratic_objectives_and_its_halves_are_not(shape: tuple[int, int], kl: str):
    quadratic = polynomial(*shape, 2)
    assert is_exact(ZGR(kl=kl), quadratic, shape)
    assert not is_exact(StraightThrough(kl=kl), quadratic, shape)
    assert not is_exact(ScoreHalf(kl=kl), quadratic, shape)
    assert not is_exact(ZGR(kl=kl), polynomial(*shape, 3), shape)


def test_it_is_exact_for_objectives_that_are_quadratic_in_each_latent():
    first, second = polynomial(1, 3, 2), polynomial(1, 3, 2)
    assert is_exact(ZGR(), lambda z: first(z[..., :1, :]) * second(z[..., 1:, :]), (2, 3))


def test_its_gradient_is_the_mean_of_its_halves_at_the_same_sample():
    problem = Problem(2, 3)
    gradients = []
    for estimator in (ZGR(), StraightThrough(), ScoreHalf()):
        torch.manual_seed(0)
        gradients.append(problem.estimates(estimator, 100)[1][0])
    kl = problem.estimates(KLAlone(), 100)[1][0]
    whole, *halves = (gradient - kl for gradient in gradients)
    torch.testing.assert_close(whole, sum(halves) / 2)


def test_it_is_gumbel_rao_without_temperature_at_every_sample():
    """Its matrix from the gradient of z to that of the logits is the limit of Gumbel-Rao's at τ → 0."""
    logits = torch.tensor([0.5, -0.3, 0.9], dtype=torch.float64)
    for drawn in torch.eye(3, dtype=torch.float64):
        limit, cold, warm = (matrix(estimator, logits, drawn) for estimator in (ZGR(), rao(0.02), rao(2.0)))
        assert (cold - limit).abs().max() < 0.015
        assert (warm - limit).abs().max() > 0.03


def rao(temperature: float) -> GumbelRao:
    return GumbelRao(temperature, draws=200_000)


def matrix(estimator: ZGR | GumbelRao, logits: Tensor, drawn: Tensor) -> Tensor:
    """∂z/∂logits as the estimator has it, (K, K), where z is `drawn`."""
    leaf = logits.expand(1, 1, -1).clone().requires_grad_()
    module = type(estimator).__module__
    with patch(f"{module}.sample", lambda given: drawn.expand(given.shape)):
        z = estimator(leaf)
    rows = [torch.autograd.grad(entry, leaf, retain_graph=True)[0].flatten() for entry in z.flatten()]
    return torch.stack(rows)


class KLAlone(Pathwise):
    """A sample without a gradient, which leaves that of the closed-form KL."""

    def rsample(self, logits: Tensor) -> Tensor:
        return sample(logits)
