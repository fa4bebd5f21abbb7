"""ReinMax is exact to second order, by sums over all states and by hand."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import ReinMax, StraightThrough
from tests.helpers.polynomials import SHAPES, is_exact, polynomial
from tests.helpers.problems import standard_errors_off


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_it_is_exact_for_quadratic_objectives_and_straight_through_is_not(shape: tuple[int, int], kl: str):
    quadratic = polynomial(*shape, 2)
    assert is_exact(ReinMax(kl=kl), quadratic, shape)
    assert not is_exact(StraightThrough(kl=kl), quadratic, shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_exact_neither_for_cubic_objectives_nor_at_another_temperature(shape: tuple[int, int]):
    assert not is_exact(ReinMax(), polynomial(*shape, 3), shape)
    assert not is_exact(ReinMax(2.0), polynomial(*shape, 2), shape)


def test_it_is_exact_for_objectives_that_are_quadratic_in_each_latent():
    """What counts is the order in one latent: this one is of fourth order in all."""
    first, second = polynomial(1, 3, 2), polynomial(1, 3, 2)
    assert is_exact(ReinMax(), lambda z: first(z[..., :1, :]) * second(z[..., 1:, :]), (2, 3))


def slope(probabilities: list[float], weight: list[float]) -> Tensor:
    """∇ of weightᵀ softmax at these probabilities: p_k (w_k − Σ p w)."""
    p, w = torch.tensor([probabilities, weight], dtype=torch.float64)
    return p * (w - (p * w).sum())


def gradient(estimator: ReinMax, probabilities: list[float], weight: list[float], drawn: int) -> Tensor:
    """The estimator's gradient for the logits of weightᵀz where `drawn` is the class of z."""
    logits = (torch.tensor([[probabilities]], dtype=torch.float64).log() + 0.7).requires_grad_()
    z = torch.eye(3, dtype=torch.float64)[drawn].expand(1, 1, 3)
    with patch("discrete_latents.latent.pathwise.reinmax.sample", lambda _: z):
        bound = estimator(lambda sample: (sample(logits) * torch.tensor(weight)).sum((-1, -2)))
    assert bound.item() == weight[drawn]
    return torch.autograd.grad(bound.sum(), logits)[0].flatten()


def test_the_gradient_of_three_classes_by_hand():
    """π = (1/2, 3/10, 1/5) and the first class is drawn, so π_D = (3/4, 3/20, 1/10); w = (1, 2, 4). With means 1.45 and
    1.9 of w, twice the slope at π_D is (−0.675, 0.165, 0.51), half that at π is (−0.225, 0.015, 0.21)."""
    ours = gradient(ReinMax(), [0.5, 0.3, 0.2], [1.0, 2.0, 4.0], drawn=0)
    torch.testing.assert_close(ours, torch.tensor([-0.45, 0.15, 0.3], dtype=torch.float64))


def test_the_temperature_is_that_of_the_midpoint_alone():
    """π = (1, 4, 9) / 14 is (1, 2, 3) / 6 at τ = 2, halfway from which to the last class is (1, 2, 9) / 12."""
    weight = [1.0, -2.0, 4.0]
    expected = 2 * slope([1 / 12, 2 / 12, 9 / 12], weight) - slope([1 / 14, 4 / 14, 9 / 14], weight) / 2
    torch.testing.assert_close(gradient(ReinMax(2.0), [1 / 14, 4 / 14, 9 / 14], weight, drawn=2), expected)


def test_samples_are_the_models_at_any_temperature():
    logits = torch.tensor([1.0, -0.5, 0.3])
    z = ReinMax(2.0)(logits.expand(100_000, 1, 3))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), logits.softmax(-1)) < 4
