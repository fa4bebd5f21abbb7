"""Draws of a gradient and their statistics, against numbers by hand and by enumeration."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import Exact, GumbelSoftmax, Rebar, Reinforce, StraightThrough
from discrete_latents.latent.gradients import Draws, draw_gradient, draw_gradients
from tests.helpers.problems import Problem, standard_errors_off

BITS = Problem(1, 2)


def draws(*gradients: list[list[float]]) -> Draws:
    """One latent of K classes; a list of images' gradients for each draw."""
    values = torch.tensor(gradients).unsqueeze(-2)
    return Draws(torch.zeros(values.shape[:2]), values)


def enumerated(problem: Problem) -> tuple[Tensor, Tensor]:
    """E g and E‖g − E g‖² of the score function without a baseline for one latent."""
    (logits,) = problem.biases
    log_q, states = logits.log_softmax(-1), torch.stack(problem.states())
    probability = (states * log_q).sum((-1, -2)).exp()[:, None, None]
    signal = problem.log_likelihood(states)[:, None, None]
    # The KL in closed form is differentiated as it stands.
    kl = (log_q.exp() * (log_q - problem.prior.log_softmax(-1))).sum()
    slope = log_q.exp() * (log_q - problem.prior.log_softmax(-1) - kl)
    gradients = signal * (states - log_q.exp()) - slope
    mean = (probability * gradients).sum(0)
    return mean, (probability * (gradients - mean).square()).sum()


def test_the_statistics_of_two_images_by_hand():
    """The first image's gradients have the mean (2, 1) and the variance 2 + 8, the second's (−1, 0) and 2 + 0."""
    two = draws([[1.0, 3.0], [-2.0, 0.0]], [[3.0, -1.0], [0.0, 0.0]])
    torch.testing.assert_close(two.mean(), torch.tensor([[[2.0, 1.0]], [[-1.0, 0.0]]]))
    assert two.variance().item() == pytest.approx((10 + 2) / 2)
    assert two.signal_to_noise().item() == 0  # (5 + 1) / 2 is what noise alone would give, 6 / 2


def test_the_noise_that_is_left_in_the_mean_is_no_signal():
    """Mean (4, 0) and variance 8 + 2 of two draws: of 16, 5 are noise."""
    assert draws([[6.0, 1.0]], [[2.0, -1.0]]).signal_to_noise().item() == pytest.approx(math.sqrt((16 - 5) / 10))
    assert draws([[1.0, 0.0]], [[1.0, 0.0]]).signal_to_noise().item() == math.inf
    noise = Draws(torch.zeros(2, 20_000), 3 * torch.randn(2, 20_000, 2, 3))
    assert noise.variance().item() == pytest.approx(9 * 6, rel=0.03)
    assert noise.signal_to_noise().item() < 0.1


@pytest.mark.parametrize("repeats", [3, 20])
def test_the_statistics_of_the_score_function_are_those_of_the_sum_over_its_samples(repeats: int):
    problem = Problem(1, 3)
    mean, variance = enumerated(problem)
    torch.testing.assert_close(mean, problem.exact_gradients()[0])
    drawn = draw_gradients(Reinforce(), problem.objective(problem.leaves(200_000 // repeats)), repeats)
    assert drawn.gradients.shape == (repeats, 200_000 // repeats, 1, 3)
    assert drawn.bounds.shape == drawn.gradients.shape[:2]
    assert drawn.variance().item() == pytest.approx(variance.item(), rel=0.02)
    assert drawn.signal_to_noise().item() == pytest.approx((mean.square().sum() / variance).sqrt().item(), rel=0.02)
    assert standard_errors_off(drawn.mean(), mean) < 4


def test_there_is_no_noise_in_the_exact_gradient():
    problem = Problem(2, 3, layers=2)
    drawn = draw_gradients(Exact(), problem.objective(problem.leaves(3)), 4)
    assert drawn.variance().item() < 1e-20
    assert drawn.signal_to_noise().item() > 1e8
    torch.testing.assert_close(drawn.mean(), problem.exact_gradients()[0].expand(3, -1, -1))
    torch.testing.assert_close(drawn.bounds, problem.exact_bound(problem.biases).expand(4, 3))


@pytest.mark.parametrize("make", [StraightThrough, Reinforce, Rebar])
def test_one_draw_is_the_gradient_of_the_first_layers_logits(make: Callable[[], torch.nn.Module]):
    """Of each image's own bound, also where the objective is run several times, and without a graph to hold on to."""
    problem = Problem(2, 3, layers=2)
    estimator = make().eval()
    torch.manual_seed(1)
    values, (expected, _) = problem.estimates(estimator, 5)
    torch.manual_seed(1)
    with torch.no_grad():
        bound, gradient = draw_gradient(estimator, problem.objective(problem.leaves(5)))
    assert torch.equal(bound, values)
    assert torch.equal(gradient, expected)
    assert not bound.requires_grad
    assert not gradient.requires_grad


def test_the_encoder_is_run_once_and_keeps_no_gradient():
    encoder = torch.nn.Linear(4, 6)
    runs = []
    encoder.register_forward_hook(lambda *_: runs.append(1))
    logits = encoder(torch.randn(3, 4)).unflatten(-1, (2, 3))
    drawn = draw_gradients(StraightThrough(), lambda sample: sample(logits).square().sum((-1, -2)), 5)
    assert len(runs) == 1
    assert encoder.weight.grad is None
    assert drawn.gradients.shape == (5, 3, 2, 3)
    assert len({tuple(gradient.flatten().tolist()) for gradient in drawn.gradients}) > 1


def test_a_sampler_that_is_traced_still_draws_gaussian_latents():
    logits = torch.randn(3, 2, 3, requires_grad=True)

    def objective(sample) -> Tensor:
        style = sample.normal(torch.zeros(3, 2), torch.zeros(3, 2))
        return (sample(logits, prior=torch.zeros(2, 3)) * style.unsqueeze(-1)).sum((-1, -2))

    bound, gradient = draw_gradient(StraightThrough(), objective)
    assert bound.shape == (3,)
    assert gradient.shape == (3, 2, 3)


def test_the_bias_of_gumbel_softmax_goes_to_zero_and_its_variance_grows_as_the_temperature_falls():
    """The trade-off that these statistics are there for (Jang et al. 2017, section 2.1)."""
    (exact,) = BITS.exact_gradients()
    biases, variances = [], []
    for temperature in (1.0, 0.5, 0.1):
        drawn = draw_gradients(GumbelSoftmax(temperature), BITS.objective(BITS.leaves(40_000)), 20)
        gradients = drawn.gradients.flatten(0, 1)
        biases.append((gradients.mean(0) - exact).norm() / exact.norm())
        variances.append(drawn.variance())
        assert standard_errors_off(gradients, exact) > 10 or temperature == 0.1
    assert biases[0] > 2 * biases[1] > 4 * biases[2]
    assert biases[2] < 0.02
    assert variances[2] > 2 * variances[1] > 4 * variances[0]
