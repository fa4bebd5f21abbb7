"""Pathwise estimators: values and gradients against enumeration and against numerical integration."""

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from discrete_latents.latent import Concrete, Exact, GumbelSoftmax, STGumbel
from discrete_latents.latent.distributions import categorical_kl
from tests.helpers.problems import Problem, standard_errors_off

COPIES = 100_000
GRID = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
"""Midpoints of (0, 1): the mean over them integrates over a uniform variable."""

ONE_BIT = Problem(1, 2)
HARD_PROBLEMS = [Problem(2, 3), Problem(3, 2), Problem(1, 5), Problem(2, 2, layers=2), Problem(1, 5, layers=2)]


def soft_bits(log_odds: torch.Tensor, temperature: float) -> torch.Tensor:
    """Relaxed samples of one bit, (grid, 1, 2), by inverting the logistic distribution."""
    on = ((log_odds + GRID.logit()) / temperature).sigmoid()
    return torch.stack([1 - on, on], -1).unsqueeze(1)


@pytest.mark.parametrize("problem", HARD_PROBLEMS, ids=str)
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_st_gumbel_has_the_expected_value_of_the_discrete_model(problem: Problem, kl: str):
    values, _ = problem.estimates(STGumbel(0.7, kl=kl), COPIES)
    assert standard_errors_off(values, problem.exact_bound(problem.biases)) < 4


def test_st_gumbel_has_the_gradient_of_hard_samples_through_the_softmax():
    temperature = 0.7
    problem = Problem(1, 2, with_prior=False)
    bias = problem.biases[0].clone().requires_grad_()
    soft = soft_bits(bias[0, 1] - bias[0, 0], temperature)
    hard = F.one_hot(soft.argmax(-1), 2).double().requires_grad_()
    slope = torch.autograd.grad(problem.log_likelihood(hard).sum(), hard)[0]
    expected = torch.autograd.grad((slope * soft).sum() / len(GRID), bias)[0]
    _, gradients = problem.estimates(STGumbel(temperature), COPIES)
    assert standard_errors_off(gradients[0], expected) < 4


def test_st_gumbel_is_exact_for_linear_objectives_only_as_its_softmax_is_unbiased():
    """At any τ the bias on a linear objective is that of the soft sample's mean: none where q is uniform."""
    logits = torch.zeros(COPIES, 1, 4, requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0])
    bound = STGumbel(0.5)(lambda sample: (sample(logits) * weight).sum((-1, -2)))
    assert standard_errors_off(bound.detach(), weight.mean()) < 4


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_gumbel_softmax_has_the_value_and_gradient_of_the_relaxed_expectation(temperature: float):
    bias = ONE_BIT.biases[0].clone().requires_grad_()
    soft = soft_bits(bias[0, 1] - bias[0, 0], temperature)
    log_q, log_p = bias.log_softmax(-1), ONE_BIT.prior.log_softmax(-1)
    expected = ONE_BIT.log_likelihood(soft).mean() - (log_q.exp() * (log_q - log_p)).sum()
    values, gradients = ONE_BIT.estimates(GumbelSoftmax(temperature), COPIES)
    assert standard_errors_off(values, expected.detach()) < 4
    assert standard_errors_off(gradients[0], torch.autograd.grad(expected, bias)[0]) < 4


def test_gumbel_softmax_draws_as_torch_distributions_does_with_many_classes():
    logits = torch.randn(4)
    draws = GumbelSoftmax(0.6)(logits.expand(COPIES, 1, 4)).squeeze(1)
    reference = torch.distributions.RelaxedOneHotCategorical(torch.tensor(0.6), logits=logits).sample((COPIES,))
    for moment in (1, 2, 3):
        ours, theirs = draws**moment, reference**moment
        assert standard_errors_off(ours - theirs, torch.zeros(())) < 4


def binary_log_density(soft, logits, temperature):
    """The log-density of the log-odds of a relaxed bit (Maddison et al. 2017, appendix B), by hand."""
    log_odds = soft.log()[..., 1] - soft.log()[..., 0]
    shifted = temperature * log_odds - (logits[..., 1] - logits[..., 0])
    return math.log(temperature) - shifted - 2 * F.softplus(-shifted)


@pytest.mark.parametrize(("temperature", "prior_temperature"), [(2 / 3, 0.5), (0.5, 0.5), (1.0, 0.3)])
def test_concrete_has_the_value_and_gradient_of_its_relaxed_bound(temperature: float, prior_temperature: float):
    bias = ONE_BIT.biases[0].clone().requires_grad_()
    soft = soft_bits(bias[0, 1] - bias[0, 0], temperature)
    log_ratio = binary_log_density(soft, ONE_BIT.prior, prior_temperature) - binary_log_density(soft, bias, temperature)
    expected = ONE_BIT.log_likelihood(soft).mean() + log_ratio.mean()
    values, gradients = ONE_BIT.estimates(Concrete(temperature, prior_temperature), COPIES)
    assert standard_errors_off(values, expected.detach()) < 4
    assert standard_errors_off(gradients[0], torch.autograd.grad(expected, bias)[0]) < 4


def test_concrete_is_a_lower_bound_on_the_relaxed_log_likelihood_and_tightens_with_more_samples():
    prior_temperature = 0.5
    prior = ONE_BIT.prior[0, 1] - ONE_BIT.prior[0, 0]
    log_likelihood = ONE_BIT.log_likelihood(soft_bits(prior, prior_temperature)).exp().mean().log()
    means, errors = [], []
    for samples in (1, 5, 50):
        values, _ = ONE_BIT.estimates(Concrete(2 / 3, prior_temperature, samples=samples), 20_000)
        means.append(values.mean().item())
        errors.append(values.std().item() / 20_000**0.5)
    assert means[0] < means[1] < means[2] < log_likelihood + 4 * errors[2]
    assert means[2] == pytest.approx(log_likelihood.item(), abs=0.05)


def test_concrete_without_divergence_is_the_log_likelihood_itself():
    problem = Problem(2, 3)
    problem.prior = problem.biases[0]
    drawn = []

    def objective(sample):
        z = sample(problem.biases[0].unsqueeze(0), prior=problem.prior)
        drawn.append(problem.log_likelihood(z))
        return drawn[-1]

    torch.testing.assert_close(Concrete(0.5, 0.5)(objective), drawn[0])


def test_the_relaxed_kl_is_negative_for_some_samples_and_positive_on_average():
    logits = torch.randn(10_000, 2, 3)
    kl = -Concrete(0.5, 0.5)(lambda sample: sample(logits, prior=torch.zeros(2, 3)).sum((-1, -2)) * 0)
    assert (kl < 0).any()
    assert kl.mean() > 0


def test_the_relaxed_bound_tends_to_the_exact_one_as_the_temperature_falls():
    problem = Problem(2, 3)
    exact = problem.exact_bound(problem.biases)
    gaps = []
    for temperature in (1.0, 0.3, 0.01):
        values, _ = problem.estimates(GumbelSoftmax(temperature), COPIES)
        gaps.append(abs(values.mean() - exact))
    error = values.std() / COPIES**0.5
    assert gaps[0] > gaps[1] > 4 * error
    assert gaps[2] < 4 * error + 0.001


def test_the_relaxed_kl_is_the_same_at_every_temperature_and_above_the_categorical_one():
    """With one temperature for both, y is an invertible function of differences of logits + Gumbel, whose
    divergence does not know τ; the class is a function of them, so its divergence is smaller (data processing).
    So the Concrete bound does not tend to the exact one as τ → 0: it stays below."""
    logits, prior = (
        torch.randn(COPIES, 1, 3, dtype=torch.float64) * 0 + torch.tensor([1.0, -1.0, 0.5]),
        torch.zeros(1, 3),
    )
    kls = []
    for temperature in (2.0, 0.5, 0.05):
        kls.append(-Concrete(temperature, temperature)(lambda sample: sample(logits, prior=prior).sum((-1, -2)) * 0))
    for kl in kls[1:]:
        assert standard_errors_off(kl - kls[0], torch.zeros((), dtype=torch.float64)) < 4
    assert kls[0].mean() > categorical_kl(logits[:1], prior).item() + 0.1


def test_gumbel_softmax_is_biased_and_its_bias_falls_while_its_variance_grows_with_the_temperature():
    problem = Problem(1, 3)
    (exact,) = problem.exact_gradients()
    biases, variances = [], []
    for temperature in (1.0, 0.3, 0.1):
        _, (gradients,) = problem.estimates(GumbelSoftmax(temperature), 400_000)
        biases.append((gradients.mean(0) - exact).norm())
        variances.append(gradients.var(0).sum())
        off = standard_errors_off(gradients, exact)
        assert off > 10 if temperature == 1.0 else True
    assert biases[0] > biases[1] > biases[2]
    assert variances[0] < variances[1] < variances[2]


@pytest.mark.parametrize("samples", [2, 3])
def test_the_multi_sample_bound_is_the_expected_log_of_the_mean_weight(samples: int):
    problem = Problem(1, 3)
    log_q = problem.biases[0].log_softmax(-1)[0]
    states = torch.stack(problem.states())
    log_weights = problem.log_likelihood(states) + problem.prior.log_softmax(-1)[0] - log_q
    expected = torch.zeros((), dtype=torch.float64)
    for codes in product(range(3), repeat=samples):
        chosen = torch.tensor(codes)
        expected += log_q[chosen].sum().exp() * (log_weights[chosen].logsumexp(0) - math.log(samples))
    values, _ = problem.estimates(STGumbel(1.0, kl="sampled", samples=samples), COPIES)
    assert standard_errors_off(values, expected) < 4


def test_several_samples_with_an_analytic_kl_are_refused_since_they_give_no_bound():
    problem = Problem()
    with pytest.raises(ValueError, match=r"samples = 5 with kl = analytic is not a lower bound.*kl = relaxed"):
        problem.estimates(GumbelSoftmax(samples=5), 2)
    without_prior = Problem(with_prior=False)
    assert without_prior.estimates(GumbelSoftmax(samples=5), 2)[0].shape == (2,)


@pytest.mark.parametrize("make", [STGumbel, GumbelSoftmax, Concrete, lambda: STGumbel(kl="sampled")])
def test_the_gradient_reaches_the_prior_and_the_networks(make):
    problem = Problem()
    problem.prior.requires_grad_()
    problem.weight2.requires_grad_()
    bound = make()(problem.objective(problem.leaves(1)))
    for gradient in torch.autograd.grad(bound.sum(), (problem.prior, problem.weight2)):
        assert gradient.abs().sum() > 0


def test_the_gradient_of_the_networks_is_unbiased_with_hard_samples():
    problem = Problem(1, 3)
    problem.weight2.requires_grad_()
    exact = torch.autograd.grad(problem.exact_bound(problem.biases), problem.weight2)[0]
    enumerated = torch.autograd.grad(Exact()(problem.objective(problem.leaves(1))).sum(), problem.weight2)[0]
    torch.testing.assert_close(enumerated, exact)
    bound = STGumbel(1.0)(problem.objective(problem.leaves(COPIES)))
    sampled = torch.autograd.grad(bound.mean(), problem.weight2)[0]
    assert (sampled - exact).abs().max() < 4 / COPIES**0.5


@pytest.mark.parametrize(
    ("make", "kl", "message"),
    [
        (STGumbel, "relaxed", "kl must be one of analytic, sampled for STGumbel, got 'relaxed'"),
        (GumbelSoftmax, "sampled", "kl must be one of analytic, relaxed for GumbelSoftmax, got 'sampled'"),
    ],
)
def test_a_kl_that_the_samples_do_not_have_is_refused(make, kl: str, message: str):
    with pytest.raises(ValueError, match=message):
        make(kl=kl)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float):
    with pytest.raises(ValueError, match="temperature must be a number greater than 0"):
        GumbelSoftmax(temperature)
    with pytest.raises(ValueError, match="prior_temperature must be a number greater than 0"):
        Concrete(1.0, temperature)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 2, 3, 4)])
def test_it_is_a_drop_in_replacement_for_torchs_gumbel_softmax(shape, hard: bool):
    """Same shapes, dtype and simplex, and with the same noise the same numbers."""
    logits = torch.randn(shape)
    ours = (STGumbel if hard else GumbelSoftmax)(0.8)(logits)
    assert ours.shape == shape
    assert ours.dtype == logits.dtype
    torch.testing.assert_close(ours.sum(-1), torch.ones(shape[:-1]))
    assert not hard or set(ours.unique().tolist()) == {0.0, 1.0}
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), GumbelSoftmax(0.5), torch.nn.Linear(4, 1))
    network(logits).sum().backward()
    assert network[0].weight.grad.abs().sum() > 0
