"""Subsets of k of K classes against sums over all of them, and the estimators that draw them."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import Exact, HardBound, NotDefined, StraightThrough
from discrete_latents.latent.subsets import (
    all_subsets,
    log_normaliser,
    marginals,
    sample_subset,
    subset_kl,
    subset_log_prob,
)
from tests.helpers.problems import LATENTS, make_estimator, standard_errors_off, traits

K = 5
SIZES = [1, 2, 4, 5]


def states(size: int, classes: int = K) -> Tensor:
    """All subsets, written down by themselves."""
    rows = [[float(k in chosen) for k in range(classes)] for chosen in combinations(range(classes), size)]
    return torch.tensor(rows, dtype=torch.float64)


def probabilities(logits: Tensor, size: int) -> Tensor:
    """Of all subsets, (C, …)."""
    return torch.einsum("ck,...k->c...", states(size, logits.shape[-1]), logits).softmax(0)


@pytest.mark.parametrize("size", SIZES)
def test_sums_marginals_and_divergences_are_those_over_all_subsets(size: int):
    logits, prior = torch.randn(2, 3, K, dtype=torch.float64)
    logits.requires_grad_()
    p, q = probabilities(logits, size), probabilities(prior, size)
    means = torch.einsum("cn,ck->nk", p, states(size))
    torch.testing.assert_close(marginals(logits, size), means)
    torch.testing.assert_close(torch.autograd.grad(log_normaliser(logits, size).sum(), logits)[0], means)
    torch.testing.assert_close(all_subsets(K, size, logits), states(size))
    log_prob = subset_log_prob(states(size)[:, None], logits[:1], size)
    torch.testing.assert_close(log_prob, p[:, 0].log())
    kl = subset_kl(logits, prior, size)
    torch.testing.assert_close(kl, (p * (p / q).log()).sum())
    slopes = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (kl, (p * (p / q).log()).sum())]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("size", SIZES)
def test_samples_are_exactly_k_hot_and_have_the_law_of_subsets(size: int):
    logits = torch.tensor([[1.0, -2.0, 0.3, 0.0, 3.0], [0.0, 0.0, 4.0, -4.0, 2.0]])
    z = sample_subset(logits.expand(50_000, 2, K), size)
    assert z.dtype == logits.dtype
    assert ((z == 0) | (z == 1)).all()
    assert (z.sum(-1) == size).all()
    chosen = torch.einsum("snk,ck->scn", z.double(), states(size)) == size
    assert (chosen.sum(1) == 1).all()
    expected = probabilities(logits.double(), size)
    common = expected > 1e-3  # counts of the others are no Gaussians
    assert standard_errors_off(chosen[:, common].double(), expected[common]) < 4.5


class Subsets:
    """Two latents of subsets, or a second layer of them below the first, under an objective of some degree."""

    def __init__(self, degree: int, layers: int = 1, copies: int = 1) -> None:
        random = torch.Generator().manual_seed(2)
        self.logits, self.prior = torch.randn(2, 2, K, generator=random, dtype=torch.float64)
        self.leaf = self.logits.expand(copies, 2, K).clone().requires_grad_()
        self.weights = torch.randn(degree, 2 * K, generator=random, dtype=torch.float64)
        self.layers = layers
        self.drawn: list[Tensor] = []

    def value(self, z: Tensor) -> Tensor:
        return sum((z.flatten(-2) @ weight).pow(power + 1) for power, weight in enumerate(self.weights))

    def __call__(self, sample) -> Tensor:
        z = sample.subset(self.leaf, 2, prior=self.prior)
        self.drawn.append(z)
        return self.value(z) if self.layers == 1 else self.value(sample.subset(self.leaf + z * self.weights[0][:K], 3))

    def exact(self) -> tuple[Tensor, Tensor]:
        """The bound of one layer and its gradient, by hand."""
        logits = self.logits.clone().requires_grad_()
        p, every = probabilities(logits, 2), states(2)
        both = p[:, None, 0] * p[None, :, 1]
        pairs = torch.stack([every[:, None].expand(-1, len(every), -1), every.expand(len(every), -1, -1)], -2)
        q = probabilities(self.prior, 2)
        bound = (both * self.value(pairs)).sum() - (p * (p / q).log()).sum()
        return bound.detach(), torch.autograd.grad(bound, logits)[0]


def test_enumeration_is_exact():
    problem = Subsets(2)
    bound = Exact()(problem)
    value, gradient = problem.exact()
    torch.testing.assert_close(bound, value.unsqueeze(0))
    torch.testing.assert_close(torch.autograd.grad(bound.sum(), problem.leaf)[0][0], gradient)
    with pytest.raises(NotDefined, match="takes 100 configurations; allowed: at most max_configurations = 99"):
        Exact(max_configurations=99)(problem)


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_straight_through_is_exact_for_linear_objectives(kl: str):
    """Its gradient there is that of the marginals, without noise but for a sampled KL; a quadratic's is another."""
    for degree, exact in ((1, True), (2, False)):
        problem = Subsets(degree, copies=20_000)
        value, gradient = problem.exact()
        bound = StraightThrough(kl=kl)(problem)
        (slopes,) = torch.autograd.grad(bound.sum(), problem.leaf)
        assert standard_errors_off(bound.detach(), value) < 4
        if kl == "analytic":
            assert ((slopes.mean(0) - gradient).norm() < 0.01 * gradient.norm()) == exact
        assert all(((z == 0) | (z == 1)).all() and (z.sum(-1) == 2).all() for z in problem.drawn)


def test_evaluation_and_layers():
    problem = Subsets(1, copies=20_000)
    assert standard_errors_off(HardBound(1)(problem), problem.exact()[0]) < 4
    several, one = HardBound(10)(problem), HardBound(1)(problem)
    assert several.mean() > one.mean()
    two = Subsets(1, layers=2, copies=20_000)
    for estimator in (StraightThrough(), StraightThrough(kl="sampled", samples=3), HardBound(3)):
        assert estimator(two).shape == (20_000,)
    two = Subsets(1, layers=2, copies=20_000)
    assert standard_errors_off(StraightThrough()(two).detach(), Exact(10_000)(Subsets(1, layers=2)).detach()) < 4


DRAW = ("annealed_straight_through", "exact", "straight_through")


@pytest.mark.parametrize("name", [name for name in LATENTS if name not in DRAW])
def test_the_others_say_in_one_line_that_they_draw_no_subsets(name: str):
    classes = 2 if traits(name).bernoulli else 4
    logits = torch.zeros(3, 2, classes, requires_grad=True)
    with pytest.raises(NotDefined, match=r"draws no subsets; allowed: latent=straight_through or exact$"):
        make_estimator(name)(lambda sample: sample.subset(logits, 1).sum((-1, -2)))


@pytest.mark.parametrize("size", [0, 4, True])
def test_sizes_that_are_none_are_refused(size: object):
    logits = torch.zeros(3, 2, 4)
    logits[..., 0] = -math.inf
    with pytest.raises(ValueError, match=r"^size must be"):
        StraightThrough()(lambda sample: sample.subset(logits, size).sum((-1, -2)))


def test_a_masked_class_is_in_no_subset():
    logits = torch.randn(2000, 1, 4)
    masked = logits.clone()
    masked[..., 1] = -math.inf
    leaf = masked.requires_grad_()
    z = []

    def objective(sample) -> Tensor:
        z.append(sample.subset(leaf, 2, prior=torch.tensor([0.0, -math.inf, 0.0, 0.0])))
        return (z[0] * torch.arange(4.0)).sum((-1, -2))

    bound = StraightThrough()(objective)
    bound.sum().backward()
    assert bound.isfinite().all()
    assert (z[0][..., 1] == 0).all()
    assert (leaf.grad[..., 1] == 0).all()
    kept = logits[..., [0, 2, 3]]
    torch.testing.assert_close(marginals(masked.detach().clamp(min=-1e20), 2)[..., [0, 2, 3]], marginals(kept, 2))
    kl = subset_kl(torch.zeros(1, 4), torch.tensor([[0.0, -1e20, 0.0, 0.0]]), 2)
    assert kl.item() == math.inf
