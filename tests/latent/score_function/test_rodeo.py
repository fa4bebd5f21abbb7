"""RODEO: unbiased for any network and weights, less variance than RLOO once trained, and mistakes that enumeration
notices."""

import pytest
import torch
from torch import Tensor, nn

from discrete_latents.latent import RLOO, RODEO
from tests.helpers.problems import Problem
from tests.latent.score_function.test_double_cv import gradients, trained
from tests.latent.score_function.test_unbiased import PROBLEMS, worst


def with_large_weights(estimator: RODEO) -> RODEO:
    """The control variates change the gradient by as much as the objective."""
    for weight in estimator.surrogates.parameters():
        nn.init.normal_(weight, std=0.5)
    return estimator.eval()


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("draws", [2, 3])
def test_no_network_moves_the_mean(problem: Problem, draws: int):
    assert worst(with_large_weights(RODEO(draws, hidden=10, scale=0.8)), problem) < 4


def test_it_is_rloo_with_weights_of_0():
    estimator = RODEO(draws=3).eval()
    torch.manual_seed(0)
    ours = gradients(estimator, 50)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, gradients(RLOO(draws=3), 50))


def test_it_is_trained_to_less_variance_than_rloos():
    torch.manual_seed(0)
    estimator = trained(RODEO(draws=2, hidden=20), steps=80, copies=200)
    ours, plain = gradients(estimator), gradients(RLOO(draws=2))
    assert ours.var(0).sum() < 0.5 * plain.var(0).sum()


class OwnValue(RODEO):
    """A draw's control variates know its own value and gradient."""

    def controls(self, z: Tensor, signal: Tensor, slope: Tensor, index: Tensor) -> list[Tensor]:
        mean = slope.mean(0).expand_as(slope)
        return super().controls(z, signal.mean(0).expand_as(signal), mean, index)


class HalfOfScalar(RODEO):
    """The scalar control variate without h at the draw itself."""

    def controls(self, z: Tensor, signal: Tensor, slope: Tensor, index: Tensor) -> list[Tensor]:
        h, *others = super().controls(z, signal, slope, index)
        return [torch.zeros_like(h), *others]


class HalfOfVector(RODEO):
    """The vector one without g at the draw itself."""

    def controls(self, z: Tensor, signal: Tensor, slope: Tensor, index: Tensor) -> list[Tensor]:
        h, g, *others = super().controls(z, signal, slope, index)
        return [h, torch.zeros_like(g), *others]


@pytest.mark.parametrize("wrong", [OwnValue, HalfOfScalar, HalfOfVector])
def test_a_mistake_is_noticed(wrong: type[RODEO]):
    assert worst(with_large_weights(wrong(2, 10, 1.0)), Problem(2, 3), copies=80_000) > 8
