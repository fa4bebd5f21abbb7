"""Sparse posteriors against enumeration of their own q: a projection by bisection, slopes by differences."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from discrete_latents.latent import (
    Exact,
    HardBound,
    HardSampler,
    NotDefined,
    Sparsemax,
    TopKSparsemax,
    masks,
    sparsemax,
)
from discrete_latents.latent.kl_weight import KLSchedule, KLWeight
from discrete_latents.latent.sparsemax import SparseSum
from tests.helpers.problems import Problem, standard_errors_off

STEP = 1e-6


def projected(scores: Tensor) -> Tensor:
    """The point of the simplex nearest to a vector: the threshold τ at which Σ max(s − τ, 0) = 1, by bisection."""
    values = scores.tolist()
    low, high = max(values) - 1, max(values)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(value - middle, 0) for value in values) > 1 else (low, middle)
    return (scores - low).clamp(min=0)


def product_law(states: Tensor, logits: Tensor) -> Tensor:
    """q of all states, (C,), each latent the projection of its scores."""
    q = torch.stack([projected(scores) for scores in logits])
    return (states * q).sum(-1).prod(-1)


def top_law(count: int, states: Tensor, logits: Tensor) -> Tensor:
    """q of all states, the projection of the scores of the `count` best."""
    scores = (states * logits).sum((-1, -2))
    return projected(scores.masked_fill(scores < scores.sort(descending=True).values[:count][-1], -1e9))


@dataclass
class TwoPriors(Problem):
    """Also the second layer has a prior, so that its KL depends on the first draw."""

    def objective(self, biases: list[Tensor]) -> Callable[..., Tensor]:
        def run(sample: Callable[..., Tensor]) -> Tensor:
            z = sample(biases[0], prior=self.prior)
            for layer in range(1, self.layers):
                z = sample(self.logits_below(layer, z, biases[layer]), prior=self.prior.flip(-1))
            return self.log_likelihood(z)

        return run


def enumerated(problem: Problem, law: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """E_q[log p(x, z) − log q(z)] of an image, layer by layer, over the states with q > 0."""
    states = torch.stack(problem.states())

    def bound(layer: int, logits: Tensor) -> Tensor:
        q = law(states, logits)
        total = torch.zeros((), dtype=torch.float64)
        prior = problem.prior if layer == 0 else problem.prior.flip(-1)
        for state, share in zip(states[q > 0], q[q > 0], strict=True):
            if layer + 1 < problem.layers:
                value = bound(layer + 1, problem.logits_below(layer + 1, state, problem.biases[layer + 1]))
            else:
                value = problem.log_likelihood(state)
            if problem.with_prior:
                value = value + (state * prior.log_softmax(-1)).sum() - share.log()
            total = total + share * value
        return total

    return bound(0, problem.biases[0])


def slopes(problem: Problem, law: Callable[[Tensor, Tensor], Tensor], leaf: Tensor) -> Tensor:
    """The gradient of the enumerated bound for a leaf, by central differences."""
    found = torch.zeros_like(leaf)
    for index in range(leaf.numel()):
        ends = []
        for sign in (1, -1):
            leaf.view(-1)[index] += sign * STEP
            ends.append(enumerated(problem, law))
            leaf.view(-1)[index] -= sign * STEP
        found.view(-1)[index] = (ends[0] - ends[1]) / (2 * STEP)
    return found


SUMS: dict[str, tuple[Callable[[], SparseSum], Callable[[Tensor, Tensor], Tensor]]] = {
    "sparsemax": (Sparsemax, product_law),
    "two": (lambda: TopKSparsemax(2), partial(top_law, 2)),
    "five": (lambda: TopKSparsemax(5), partial(top_law, 5)),
}
PROBLEMS = [
    TwoPriors(1, 5),
    TwoPriors(2, 3, seed=4),
    Problem(2, 2, with_prior=False),
    Problem(3, 2, seed=2),
    TwoPriors(1, 3, layers=2),
    TwoPriors(2, 2, layers=2),
]


def far_from(problem: Problem, by: Callable[[], SparseSum], law: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The largest distance of the value and of all gradients, the prior's too, from the enumerated ones."""
    problem.prior.requires_grad_()
    biases = problem.leaves(2)
    bound = by()(problem.objective(biases))
    leaves = [*biases, problem.prior] if problem.with_prior else biases
    ours = torch.autograd.grad(bound.sum(), leaves)
    problem.prior.requires_grad_(False)
    exact = [slopes(problem, law, bias) for bias in problem.biases]
    exact += [2 * slopes(problem, law, problem.prior)] if problem.with_prior else []
    distances = [(bound.detach() - enumerated(problem, law)).abs().max()]
    distances += [(one - other).abs().max() for one, other in zip(ours, exact, strict=True)]
    return float(torch.stack(distances).max())


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("name", SUMS)
def test_value_and_gradients_are_those_of_its_own_q(name: str, problem: Problem):
    assert far_from(problem, *SUMS[name]) < 1e-6


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("problem", [TwoPriors(2, 3, seed=4), TwoPriors(1, 3, layers=2)], ids=str)
def test_evaluation_draws_from_the_same_q(name: str, problem: Problem):
    """The mean of hard samples is the trained bound; many give Σ p(x, z) over the states of q alone."""
    by, law = SUMS[name]
    expected = enumerated(problem, law)
    objective = problem.objective(problem.leaves(20_000))
    sampler = HardSampler(law=by().law)
    values = objective(sampler) - sampler.kl
    for found in (values, HardBound(1, law=by().law)(objective)):
        assert standard_errors_off(found.detach(), expected) < 4
    several = HardSampler((3, 2), law=by().law)
    assert objective(several).shape == (3, 2, 20_000)
    assert several.codes[-1].shape == (3, 2, 20_000, problem.num_latents)
    if problem.layers == 1:
        states = torch.stack(problem.states())
        log_p = problem.log_likelihood(states) + (states * problem.prior.log_softmax(-1)).sum((-1, -2))
        q = law(states, problem.biases[0])
        total = HardBound(20_000, chunk=20_000, law=by().law)(problem.objective(problem.leaves(1)))
        assert abs(total - log_p[q > 0].logsumexp(0)) < 0.05
        assert total < log_p.logsumexp(0) - 0.1


def test_sparsemax_is_the_projection():
    scores = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    torch.testing.assert_close(sparsemax.sparsemax(scores), torch.stack([projected(row) for row in scores]))
    for row in scores[:3]:  # diag(s) − s sᵀ / |s|, with s the classes that are not 0
        inside = (projected(row) > 0).double()
        expected = inside.diag() - inside.outer(inside) / inside.sum()
        torch.testing.assert_close(jacobian(sparsemax.sparsemax, row), expected)
    bits = torch.linspace(-3, 3, 13, dtype=torch.float64)
    pair = sparsemax.sparsemax(torch.stack([torch.zeros_like(bits), bits], -1))
    torch.testing.assert_close(pair[:, 1], ((bits + 1) / 2).clamp(0, 1))  # the hard sigmoid


def test_enough_states_are_sparsemax_over_all_of_them():
    """The paper's certificate: where fewer than k of k states are left, no other would have been in."""
    problem, more = Problem(3, 3, seed=5), [TopKSparsemax(top) for top in (9, 27, 100)]
    few, all_, beyond = (by(problem.objective(problem.leaves(1))) for by in more)
    assert (more[0].law(problem.biases[0].unsqueeze(0))[1] < masks.LOWEST).any()
    torch.testing.assert_close(few, all_)
    torch.testing.assert_close(beyond, all_)
    one = Problem(1, 5)
    torch.testing.assert_close(*(by(one.objective(one.leaves(1))) for by in (Sparsemax(), TopKSparsemax(5))))


def test_classes_that_are_ruled_out_are_not_run():
    runs = []

    def objective(sample: Callable[..., Tensor]) -> Tensor:
        z = sample(torch.tensor([[[0.0, 0.2, -5.0, -6.0]], [[0.0, 3.0, -5.0, -6.0]]]))
        runs.append(len(z))
        return (z * torch.tensor([1.0, 2.0, torch.nan, torch.nan])).nan_to_num(0.0).sum((-1, -2))

    torch.testing.assert_close(Sparsemax()(objective), torch.tensor([0.4 + 2 * 0.6, 2.0]))
    assert runs == [2]


def test_what_is_not_a_number_is_not_hidden():
    logits = torch.tensor([[[0.0, torch.nan, 1.0]]])
    for by in (Sparsemax(), TopKSparsemax(2)):
        assert by(lambda sample: sample(logits).sum((-1, -2))).isnan().all()


def no_threshold_slope(scores: Tensor) -> Tensor:
    p = SPARSEMAX(scores)
    inside = scores.masked_fill(p == 0, 0.0)
    return p.detach() + inside - inside.detach()


def no_entropy_slope(codes: Tensor, log_q: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    ratio, _ = KL_TERMS(codes, log_q, prior)
    return ratio, (log_q.exp() * ratio.detach()).sum(0) + 0.5 * (ratio - ratio.detach()).sum(0)


SPARSEMAX, KL_TERMS = sparsemax.sparsemax, sparsemax.kl_terms
MISTAKES = {
    "softmax": ("sparsemax", lambda scores: scores.softmax(-1)),
    "no slope of the threshold": ("sparsemax", no_threshold_slope),
    "another slope of the entropy": ("kl_terms", no_entropy_slope),
    "no KL": ("kl_terms", lambda _codes, log_q, prior: (log_q * 0, log_q.sum(0) * 0 + prior.sum() * 0)),
    "one state too few": ("likeliest", lambda scores, count: [part[:, :-1] for part in LIKELIEST(scores, count)]),
}
LIKELIEST = sparsemax.likeliest


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", SUMS)
def test_a_mistake_is_noticed(name: str, mistake: str, monkeypatch: pytest.MonkeyPatch):
    where, wrong = MISTAKES[mistake]
    monkeypatch.setattr(sparsemax, where, wrong)
    problem = TwoPriors(2, 3, seed=4)
    problem.biases = [bias / 20 for bias in problem.biases]  # so that no law has states to spare
    assert far_from(problem, *SUMS[name]) > 1e-3


def test_too_many_states_and_what_has_no_meaning_are_refused():
    problem = Problem(5, 3, layers=2)
    with pytest.raises(NotDefined, match=r"takes 5\.9e\+04 configurations; allowed: at most max_configurations = 4096"):
        Sparsemax()(problem.objective(problem.leaves(1)))
    with pytest.raises(ValueError, match="top must be a whole number of at least 1, got 0"):
        TopKSparsemax(0)
    with pytest.raises(NotDefined, match="free_bits must be 0 for Sparsemax"):
        KLWeight(free_bits=KLSchedule(1.0))(problem.objective(problem.leaves(1)), Sparsemax())
    assert Exact().law is None
