"""DisARM, MuProp, REBAR and RELAX: what is tuned is the variance, and it is lower."""

import pytest
import torch
from torch import Tensor, nn

from discrete_latents.latent import RLOO, Constant, DisARM, Estimator, Learned, MuProp, Rebar, Reinforce, Relax
from discrete_latents.latent.layout import one_hot
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site
from tests.helpers.problems import Problem, make_estimator, standard_errors_off
from tests.latent.score_function.test_unbiased import Mixed

FREE = Problem(2, 3, layers=2, with_prior=False)
"""Without KL terms, so that the gradients for the logits are the estimators' own parts."""


def rebar(temperature: float = 0.5, scale: float = 1.0) -> Rebar:
    return Rebar(Learned(temperature, 0.05), scale)


def relax(temperature: float = 0.5, scale: float = 1.0) -> Relax:
    """With a critic for each of two layers, and large weights in them."""
    estimator = Relax(Learned(temperature, 0.05), scale, hidden=8)
    estimator(FREE.objective(FREE.leaves(2)))
    for weight in estimator.critics.parameters():
        nn.init.normal_(weight, std=0.3)
    return estimator


def variance(estimator: Estimator, problem: Problem, copies: int = 20_000) -> float:
    _, gradients = problem.estimates(estimator, copies)
    return sum(gradient.var(0).sum().item() for gradient in gradients)


@pytest.mark.parametrize("make", [rebar, relax])
def test_what_is_tuned_goes_down_the_mean_squared_gradient(make):
    """Its slope in a random direction of all that is tuned, by differences with common noise."""
    estimator = make(scale=0.7)
    tuned = list(estimator.parameters())
    assert len(tuned) == (2 if make is rebar else 10)
    torch.manual_seed(3)
    slopes = torch.autograd.grad(-estimator(FREE.objective(FREE.leaves(500))).mean(), tuned)

    def squares() -> Tensor:
        torch.manual_seed(3)
        return sum(gradient.square().sum((-1, -2)).mean() for gradient in FREE.estimates(estimator, 500)[1])

    for index in range(len(tuned)):
        torch.manual_seed(index)
        step = 3e-3 * torch.randn_like(tuned[index])
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                tuned[index].add_(step, alpha=sign)
            sides.append(squares())
            with torch.no_grad():
                tuned[index].sub_(step, alpha=sign)
        expected = (slopes[index] * 2 * step).sum().double()
        torch.testing.assert_close(sides[0] - sides[1], expected, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize("make", [rebar, relax])
def test_the_model_does_not_see_what_is_tuned(make):
    """In training mode the loss of what is tuned is there; the noise is the same without."""
    problem = Problem(2, 3, layers=2)
    shared = [problem.prior, problem.weight1, problem.weight2, problem.couplings[1]]
    for leaf in shared:
        leaf.requires_grad_()
    estimator, draws = make(), []
    for training in (True, False):
        torch.manual_seed(3)
        biases = problem.leaves(20)
        bound = estimator.train(training)(problem.objective(biases))
        draws.append([bound.detach(), *torch.autograd.grad(bound.sum(), [*biases, *shared])])
    for tuned, plain in zip(*draws, strict=True):
        assert torch.equal(tuned, plain)


@pytest.mark.parametrize("make", [rebar, relax])
def test_training_lowers_the_variance(make):
    estimator = make(2.0, 0.2)
    before = variance(estimator, FREE)
    optimizer = torch.optim.Adam(estimator.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        (-estimator(FREE.objective(FREE.leaves(50))).mean()).backward()
        optimizer.step()
    assert variance(estimator, FREE) < 0.85 * before


def test_a_scheduled_temperature_is_not_tuned():
    estimator = Rebar(Constant(0.3))
    assert [name for name, _ in estimator.named_parameters()] == ["scale"]
    assert estimator.temperature() == pytest.approx(0.3)


def test_a_new_critic_says_nothing():
    """So RELAX starts as REBAR, with the same noise."""
    torch.manual_seed(3)
    values = [FREE.estimates(rebar(), 50)[1]]
    estimator = Relax(Learned(0.5, 0.05))
    estimator(FREE.objective(FREE.leaves(2)))
    for critic in estimator.critics:
        nn.init.zeros_(critic.last.bias)
    torch.manual_seed(3)
    values.append(FREE.estimates(estimator, 50)[1])
    for ours, theirs in zip(*values, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("problem", [FREE, Mixed(2, 3)], ids=str)
def test_both_relaxed_runs_see_the_same_noise(problem: Problem):
    """Equal relaxed samples, so equal controls: else the layers below would add to the variance."""
    recorder = Recorder()
    objective = problem.objective(problem.leaves(7))
    log_weights(objective, recorder)
    soft = recorder.sites[0].logits.detach().softmax(-1)
    first, again = rebar().control(objective, recorder, 0, torch.stack([soft, soft])).unbind()
    torch.testing.assert_close(first, again, rtol=1e-12, atol=0)
    assert len((first * 1e6).round().unique()) == 7


class Far(Problem):
    """Its value is far from zero, as the log-likelihood of an image is."""

    def log_likelihood(self, z: Tensor) -> Tensor:
        return super().log_likelihood(z) - 8


@pytest.mark.parametrize("problem", [Far(3, 2), Far(2, 2, layers=2)], ids=str)
def test_each_has_a_lower_variance_than_reinforce(problem: Problem):
    """Where an estimator takes several draws, than the mean over as many of REINFORCE's."""
    plain = variance(Reinforce(), problem)
    for estimator, draws in ((MuProp(), 1), (rebar(), 1), (RLOO(4), 4), (DisARM(), 2)):
        assert variance(estimator, problem) < 0.25 * plain / draws


def test_muprop_is_exact_on_linear_objectives():
    """The expansion is then the objective itself: what is left is the gradient of the expectation."""
    logits = torch.randn(50, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, dtype=torch.float64)
    bound = MuProp()(lambda sample: (sample(logits) * weight).sum((-1, -2)))
    expected = torch.autograd.grad((logits.softmax(-1) * weight).sum(), logits)[0]
    torch.testing.assert_close(torch.autograd.grad(bound.sum(), logits)[0], expected)


def test_disarm_is_for_two_classes():
    problem = Problem(2, 3)
    with pytest.raises(ValueError, match="disarm is defined for Bernoulli latents, num_classes = 2, got 3"):
        DisARM()(problem.objective(problem.leaves(2)))


@pytest.mark.parametrize("log_odds", [-1e4, -2.0, -0.3, 0.0, 1.0, 1e4])
def test_disarms_samples_are_antithetic(log_odds: float):
    """One uniform number makes both, b = 1[u > σ(−a)] and b̃ = 1[u < σ(a)], so that they differ where they can."""
    logits = torch.tensor([0.0, log_odds], dtype=torch.float64).expand(200_000, 1, 2)
    u = torch.rand(200_000, dtype=torch.float64)
    p = torch.tensor(log_odds, dtype=torch.float64).sigmoid()
    reference = torch.stack([u > 1 - p, u < p], -1).double()
    b = torch.rand(200_000, 1) < p
    z = one_hot(b.long(), 2, torch.float64)
    again = DisARM().antithetic(Site(logits, z, 0.0))
    assert torch.equal(again.sum(-1), torch.ones(200_000, 1, dtype=torch.float64))
    ours = torch.cat([z[..., 1], again[..., 1]], -1)
    assert standard_errors_off(again[..., 1], p) < 4
    for both in ((1, 1), (1, 0), (0, 1), (0, 0)):
        seen, expected = ((draws == torch.tensor(both)).all(-1).double() for draws in (ours, reference))
        assert standard_errors_off(seen - expected, torch.zeros(())) < 4


@pytest.mark.parametrize("name", ["rebar", "relax", "nvil"])
def test_what_learns_runs_in_double_precision_under_autocast_and_frozen(name: str):
    problem = Problem(2, 2)
    estimator = make_estimator(name)
    problem.estimates(estimator, 3)  # takes its shape
    problem.estimates(estimator.double(), 3)
    with torch.autocast("cpu", torch.bfloat16):
        values, gradients = problem.estimates(estimator, 3)
    assert values.isfinite().all()
    assert gradients[0].isfinite().all()
    problem.estimates(estimator.requires_grad_(False), 3)
