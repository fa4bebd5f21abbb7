"""Gumbel-Rao against ST-Gumbel, whose noise it averages out."""

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import GumbelRao, STGumbel
from discrete_latents.latent.distributions import conditional_gumbels, sample
from discrete_latents.latent.pathwise.base import with_gradient_of
from tests.helpers.problems import Problem, standard_errors_off

TEMPERATURE = 0.5
PROBLEM = Problem(2, 3)


class Differentiated(GumbelRao):
    """The mistake: the noise is given the class, and how it moves with the logits is differentiated too."""

    def rsample(self, logits: Tensor) -> Tensor:
        hard = sample(logits)
        perturbed = conditional_gumbels(logits.expand(self.draws, *logits.shape), hard)
        return with_gradient_of((perturbed / self.temperature()).softmax(-1).mean(0), hard)


def estimates(estimator: GumbelRao | STGumbel, copies: int) -> Tensor:
    return PROBLEM.estimates(estimator, copies)[1][0]


def variance(estimator: GumbelRao | STGumbel, copies: int) -> float:
    return estimates(estimator, copies).var(0).sum().item()


def worst_difference(ours: Tensor, reference: Tensor) -> Tensor:
    """How many standard errors the means of two samples are apart, at the worst."""
    error = (ours.var(0) / len(ours) + reference.var(0) / len(reference)).sqrt()
    return ((ours.mean(0) - reference.mean(0)).abs() / error).max()


@pytest.mark.parametrize(("draws", "copies"), [(1, 100_000), (100, 5000)])
def test_its_mean_gradient_is_st_gumbels_however_many_draws(draws: int, copies: int):
    reference = estimates(STGumbel(TEMPERATURE), 200_000)
    ours = estimates(GumbelRao(TEMPERATURE, draws), copies)
    assert worst_difference(ours, reference) < 4
    assert worst_difference(2 * ours, reference) > 8
    assert worst_difference(estimates(Differentiated(TEMPERATURE, draws), copies), reference) > 8


def test_the_gradient_averages_st_gumbels_given_the_class():
    """Of a bit, where the log-odds plus logistic noise is positive for the class 1, by integration."""
    log_odds = 0.8
    logits = torch.tensor([[[0.0, log_odds]]], dtype=torch.float64).expand(400, 1, 2).clone().requires_grad_()
    z = GumbelRao(TEMPERATURE, draws=500)(logits)[..., 1]
    ours = torch.autograd.grad(z.sum(), logits)[0][:, 0, 1]
    grid = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    perturbed = log_odds + grid.logit()
    soft = (perturbed / TEMPERATURE).sigmoid()
    slopes = soft * (1 - soft) / TEMPERATURE
    for drawn, given in ((z[:, 0] > 0.5, perturbed > 0), (z[:, 0] < 0.5, perturbed < 0)):
        assert standard_errors_off(ours[drawn], slopes[given].mean()) < 4
    assert slopes[perturbed > 0].mean() < 0.9 * slopes[perturbed < 0].mean()


def test_its_variance_falls_with_the_draws_to_that_of_the_class_alone():
    """By the law of total variance it is a + b / draws, with a + b that of ST-Gumbel."""
    variances = {draws: variance(GumbelRao(TEMPERATURE, draws), 10_000) for draws in (1, 10, 100)}
    assert variances[1] > 1.2 * variances[10]
    assert variances[10] > 1.01 * variances[100]
    share = (variances[1] - variances[10]) / (variances[1] - variances[100])
    assert share == pytest.approx((1 - 1 / 10) / (1 - 1 / 100), rel=0.05)
    assert variances[1] == pytest.approx(variance(STGumbel(TEMPERATURE), 100_000), rel=0.05)


@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_samples_are_the_models_at_any_temperature(temperature: float):
    logits = torch.tensor([1.0, -0.5, 0.3])
    z = GumbelRao(temperature)(logits.expand(100_000, 1, 3))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert standard_errors_off(z.squeeze(1), logits.softmax(-1)) < 4


@pytest.mark.parametrize("draws", [0, -1, True])
def test_draws_that_are_no_whole_number_are_refused(draws: int):
    with pytest.raises(ValueError, match="draws must be a whole number of at least 1"):
        GumbelRao(1.0, draws)
