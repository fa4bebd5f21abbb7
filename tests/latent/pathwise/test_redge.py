"""ReDGE of a bit by integration over its noise, its law for any classes, and its end in straight-through."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import ReDGE, StraightThrough
from discrete_latents.latent.pathwise.redge import denoised
from tests.helpers.problems import Problem, standard_errors_off

LOG_ODDS = 0.8
NODES = torch.linspace(-9, 9, 4001, dtype=torch.float64)


def of_a_bit(estimator: ReDGE) -> tuple[Tensor, Tensor, Tensor]:
    """The probability of class 1 and its gradient for the log-odds given the noise, and the noise's probability, on a
    grid: a softmax of two classes depends on the difference of their noise alone, which has the variance 2."""
    weight = (-NODES.square() / 2).exp()
    log_odds = torch.full_like(NODES, LOG_ODDS).requires_grad_()
    logits = torch.stack([torch.zeros_like(log_odds), log_odds], -1).unsqueeze(-2)
    noise = torch.stack([-NODES, NODES], -1).unsqueeze(-1) / 2**0.5
    probabilities = []

    def keep(logits: Tensor) -> Tensor:
        probabilities.append(logits.exp()[..., 0, 1])
        return torch.zeros_like(logits)

    module = "discrete_latents.latent.pathwise.redge"
    with patch(f"{module}.normal", lambda *_: noise), patch(f"{module}.sample", keep):
        z = estimator.rsample(logits)
    slope = torch.autograd.grad(z[..., 1].sum(), log_odds)[0]
    return probabilities[0], slope, weight / weight.sum()


@pytest.mark.parametrize(("steps", "end"), [(2, 0.5), (4, 0.9), (30, 0.5)])
def test_a_bit_by_integration(steps: int, end: float):
    """The gradient is that of the mean of its probability, which is that of the model for many steps: it then is exact
    for linear objectives. With 2 steps from the start, by hand."""
    estimator = ReDGE(steps, end)
    probability, slope, weight = of_a_bit(estimator)
    exact = torch.tensor(LOG_ODDS, dtype=torch.float64).sigmoid()
    distance = (weight @ probability - exact).abs()
    assert distance < 0.003 if (steps, end) != (2, 0.5) else 0.005 < distance < 0.02
    assert (weight @ slope - exact * (1 - exact)).abs() < (0.02 if steps > 2 else 0.1) * exact * (1 - exact)
    if steps == 2:
        noise, start = 2**0.5 * NODES, 1 - 1e-4
        first = 2 * (LOG_ODDS + (1 - start) / start**2 * noise).sigmoid() - 1  # z₁ − z₀
        x = (1 - end) * first + end / start * (noise - (1 - start) * first)
        torch.testing.assert_close(probability, (LOG_ODDS + (1 - end) / end**2 * x).sigmoid())
    plain = of_a_bit(ReDGE(steps, 1 - 1e-9))[1]
    torch.testing.assert_close(plain, (exact * (1 - exact)).expand_as(plain), rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_samples_are_the_models(scale: float):
    logits = scale * torch.tensor([1.0, -0.5, 0.3, -2.0])
    z = ReDGE()(logits.expand(100_000, 1, 4))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), logits.softmax(-1)) < 4


def test_all_its_steps_are_differentiated():
    """With many of them it is exact for linear objectives; the mistake, the last step alone, is not."""
    probability = torch.tensor(LOG_ODDS, dtype=torch.float64).sigmoid()
    exact = (probability * (1 - probability)).item()
    _, slope, weight = of_a_bit(ReDGE(30, 0.5))
    with patch(
        "discrete_latents.latent.pathwise.redge.denoised",
        lambda *given: denoised(given[0], given[1].detach(), given[2]),
    ):
        _, mistaken, _ = of_a_bit(ReDGE(30, 0.5))
    assert (weight @ slope).item() == pytest.approx(exact, rel=0.02)
    assert (weight @ mistaken).item() != pytest.approx(exact, rel=0.1)


def test_it_goes_from_straight_through_to_something_else():
    problem = Problem(2, 3)
    plain = problem.estimates(StraightThrough(), 100_000)[1][0].mean(0)
    for end, close in ((0.999, True), (0.4, False)):
        gradients = problem.estimates(ReDGE(6, end), 100_000)[1][0]
        assert ((gradients.mean(0) - plain).norm() < 0.03 * plain.norm()) == close


@pytest.mark.parametrize(("settings", "message"), [({"steps": 1}, "at least 2"), ({"end": 1.0}, "below 1")])
def test_settings_that_are_no_diffusion_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ReDGE(**settings)
