"""Latents that are counts, against torch's laws and sums over all counts, under every estimator."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Binomial, Poisson, kl_divergence

from discrete_latents.latent import Exact, HardBound, NotDefined, Sampler
from discrete_latents.latent.counts import binomial_logits, poisson_logits
from discrete_latents.latent.gradients import draw_gradients, exact_gradient
from tests.helpers.problems import LATENTS, make_estimator, standard_errors_off, traits

LARGEST = 60
"""Of Poisson counts with the rates of these tests, far above them."""

LAWS = {
    "binomial": (partial(binomial_logits, trials=7), lambda x: Binomial(7, logits=x), 7),
    "poisson": (partial(poisson_logits, largest=LARGEST), lambda x: Poisson(x.exp()), LARGEST),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_law_and_its_divergence_are_torchs(name: str):
    logits_of, law, most = LAWS[name]
    parameter, prior = torch.randn(2, 3, 4, dtype=torch.float64)
    count = torch.arange(most + 1, dtype=torch.float64)
    torch.testing.assert_close(logits_of(parameter).log_softmax(-1), law(parameter.unsqueeze(-1)).log_prob(count))
    seen = {}

    def objective(sample: Sampler) -> Tensor:
        z = getattr(sample, name)(parameter, most, prior)
        seen["kl"] = sample.kl
        return z.sum(-1)

    make_estimator("straight_through")(objective)
    torch.testing.assert_close(seen["kl"], kl_divergence(law(parameter), law(prior)).sum(-1))


def test_a_largest_count_within_reach_is_the_law_below_it():
    logits = poisson_logits(torch.tensor(1.5), 3)
    expected = Poisson(torch.tensor(1.5).exp()).log_prob(torch.arange(4.0)).exp()
    torch.testing.assert_close(logits.softmax(-1), expected / expected.sum())


def test_a_rate_of_0_is_no_count():
    rate = torch.tensor([[-torch.inf, 2.0]], requires_grad=True)
    bound = Exact()(lambda sample: sample.poisson(rate, 20).sum(-1))
    (slope,) = torch.autograd.grad(bound.sum(), rate)
    torch.testing.assert_close(bound, torch.tensor([2.0]).exp(), rtol=1e-4, atol=0)
    assert slope[0, 0] == 0
    assert slope.isfinite().all()


class Counts:
    """Two counts that a third depends on, under a value that is not quadratic."""

    def __init__(self, kind: str, copies: int = 1, most: int = 3) -> None:
        random = torch.Generator().manual_seed(1)
        self.parameter, self.prior = torch.randn(2, 2, generator=random, dtype=torch.float64)
        self.leaf = self.parameter.expand(copies, 2).clone().requires_grad_()
        self.kind, self.most = kind, most
        self.drawn: list[Tensor] = []

    def __call__(self, sample: Sampler) -> Tensor:
        z = getattr(sample, self.kind)(self.leaf, self.most, self.prior)
        below = getattr(sample, self.kind)(z.sum(-1, keepdim=True) / 3 - 1, self.most)
        self.drawn = self.drawn or [z.detach(), below.detach()]  # of the first run: rebar then runs soft ones
        return (z.prod(-1) / 2 - below.squeeze(-1)).tanh()

    def exact(self) -> tuple[Tensor, Tensor]:
        """Value and gradient, by torch's laws and loops over all counts."""
        leaf = self.parameter.clone().requires_grad_()
        count = torch.arange(self.most + 1.0, dtype=torch.float64)

        def chances(x: Tensor) -> Tensor:
            law = Binomial(self.most, logits=x) if self.kind == "binomial" else Poisson(x.exp())
            p = law.log_prob(count).exp()
            return p / p.sum()

        q, p = ([chances(x) for x in pair] for pair in (leaf, self.prior))
        total = -sum((one * (one / other).log()).sum() for one, other in zip(q, p, strict=True))
        for i, a in enumerate(count):
            for j, b in enumerate(count):
                below = chances((a + b) / 3 - 1)
                total = total + q[0][i] * q[1][j] * (below * (a * b / 2 - count).tanh()).sum()
        return total.detach(), torch.autograd.grad(total, leaf)[0]


@pytest.mark.parametrize("kind", LAWS)
def test_exact_is_the_sum_over_all_counts(kind: str):
    problem = Counts(kind)
    value, gradient = problem.exact()
    bound = Exact()(problem)
    torch.testing.assert_close(bound, value.unsqueeze(0))
    torch.testing.assert_close(torch.autograd.grad(bound.sum(), problem.leaf)[0][0], gradient)


@pytest.mark.parametrize("name", ["arsm", "carms", "rebar", "rloo"])
@pytest.mark.parametrize("kind", LAWS)
def test_unbiased_estimators_are_unbiased(kind: str, name: str):
    problem = Counts(kind, copies=20_000)
    value, gradient = problem.exact()
    bound = make_estimator(name)(problem)
    (slopes,) = torch.autograd.grad(bound.sum(), problem.leaf)
    assert standard_errors_off(bound.detach(), value) < 4
    assert standard_errors_off(slopes, gradient) < 4
    assert all(((z == z.round()) & (z >= 0) & (z <= 3)).all() for z in problem.drawn)


@pytest.mark.parametrize("name", LATENTS)
def test_every_estimator_of_classes_draws_counts(name: str):
    problem = Counts("binomial", copies=5, most=1 if traits(name).bernoulli else 3)
    bound = make_estimator(name)(problem)
    assert bound.shape == (5,)
    (slope,) = torch.autograd.grad(bound.sum(), problem.leaf)
    assert slope.isfinite().all()
    if traits(name).bernoulli:
        with pytest.raises(NotDefined, match="is defined for Bernoulli latents, num_classes = 2, got 4"):
            make_estimator(name)(Counts("binomial", copies=5))


@pytest.mark.parametrize("kind", LAWS)
def test_evaluation_draws_whole_counts_and_many_samples_are_a_better_bound(kind: str):
    problem = Counts(kind, copies=5_000)
    one, many = HardBound(1)(problem), HardBound(20)(problem)
    assert standard_errors_off(one, problem.exact()[0]) < 4
    assert many.mean() > one.mean()
    assert all((z == z.round()).all() for z in problem.drawn)


def test_gradients_are_measured_at_the_logits_of_the_counts():
    problem = Counts("poisson", copies=2_000)
    draws = draw_gradients(make_estimator("rloo"), problem, 5)
    exact = exact_gradient(Counts("poisson"))
    assert draws.gradients.shape == (5, 2_000, 2, 4)
    assert standard_errors_off(draws.gradients.flatten(0, 1), exact[0]) < 4


@pytest.mark.parametrize("most", [0, True])
@pytest.mark.parametrize(("kind", "named"), [("binomial", "trials"), ("poisson", "largest")])
def test_numbers_that_are_none_are_refused(kind: str, named: str, most: object):
    with pytest.raises(ValueError, match=f"^{named} must be"):
        Exact()(lambda sample: getattr(sample, kind)(torch.zeros(1, 2), most).sum(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_counts_have_the_dtype_of_their_parameters(dtype: torch.dtype):
    counts: Callable[[Sampler], Tensor] = lambda sample: sample.binomial(torch.full((1, 1), 9.0, dtype=dtype), 200)  # noqa: E731
    kept = []
    make_estimator("rloo")(lambda sample: kept.append(counts(sample)) or kept[0].float().sum(-1))
    assert kept[0].dtype == dtype
    assert (kept[0] > 190).all()
