"""Draws without replacement, the estimators that use them, and mistakes in them that enumeration notices."""

from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import SumAndSample, UnorderedSet
from discrete_latents.latent.distributions import sample
from discrete_latents.latent.joint_states import drawn_without_replacement, likeliest
from discrete_latents.latent.score_function.coupled import Coupled, Coupling
from discrete_latents.latent.score_function.trace import Site
from tests.helpers.problems import Problem
from tests.latent.score_function.test_unbiased import worst

LOG_Q = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).log_softmax(-1)
STATES = list(product(range(3), repeat=2))
P = torch.stack([LOG_Q[0, i] + LOG_Q[1, j] for i, j in STATES]).exp()


def numbers(states: Tensor) -> Tensor:
    """The position in STATES of each state."""
    return states[..., 0] * 3 + states[..., 1]


def test_states_are_drawn_in_the_order_of_an_urn():
    """P(s, t, u) = p(s) p(t) / (1 − p(s)) p(u) / (1 − p(s) − p(t)), for each s, t, and the most likely u."""
    torch.manual_seed(0)
    copies = 40_000
    log_q = LOG_Q.expand(copies, -1, -1)
    drawn, log_p = drawn_without_replacement(log_q, sample(log_q).argmax(-1), 3)
    found = numbers(drawn)
    torch.testing.assert_close(log_p, P.log()[found])
    for s, t in permutations(range(9), 2):
        p = P[s] * P[t] / (1 - P[s])
        share = ((found[:, 0] == s) & (found[:, 1] == t)).double().mean()
        assert abs(share - p) < 4.5 * (p * (1 - p) / copies).sqrt()
    s, t, u = P.argsort(descending=True)[:3]
    p = P[s] * P[t] / (1 - P[s]) * P[u] / (1 - P[s] - P[t])
    share = (found == torch.stack([s, t, u])).all(-1).double().mean()
    assert abs(share - p) < 4.5 * (p * (1 - p) / copies).sqrt()


def test_the_likeliest_are_those_of_all_states():
    states, log_p = likeliest(LOG_Q.unsqueeze(0), 5)
    assert torch.equal(numbers(states)[0], P.argsort(descending=True)[:5])
    torch.testing.assert_close(log_p[0].exp(), P.sort(descending=True)[0][:5])


def test_the_chance_of_a_set_is_the_sum_over_all_orders():
    """R(S, s) is that of the orders that begin with s."""

    def chance(order: tuple[int, ...]) -> float:
        total, left = 1.0, 1.0
        for state in order:
            total, left = total * P[state].item() / left, left - P[state].item()
        return total

    members = [0, 4, 5, 7]
    orders = list(permutations(members))
    whole = sum(map(chance, orders))
    shares, baseline = UnorderedSet(4).ratios(P[members].log().unsqueeze(0))
    expected = [sum(chance(order) for order in orders if order[0] == first) / whole for first in members]
    torch.testing.assert_close(shares[0], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(baseline.sum(-1), torch.ones(1, 4, dtype=torch.float64))
    torch.testing.assert_close(baseline[0].diagonal(), P[members])


@pytest.mark.parametrize("estimator", [UnorderedSet(9), UnorderedSet(10), SumAndSample(8), SumAndSample(20)], ids=str)
def test_all_states_are_exact(estimator: Coupled):
    """Nine states: no noise, also where more are asked for than there are."""
    problem = Problem(2, 3)
    bounds, (gradients,) = problem.estimates(estimator, 6)
    torch.testing.assert_close(bounds, problem.exact_bound(problem.biases).expand(6))
    torch.testing.assert_close(gradients, problem.exact_gradients()[0].expand(6, -1, -1))


class WithReplacement(UnorderedSet):
    """The baseline knows that s is drawn, but not that no other draw is s."""

    def ratios(self, log_p: Tensor) -> tuple[Tensor, Tensor]:
        shares, _ = super().ratios(log_p)
        return shares, shares.unsqueeze(1).expand(-1, shares.shape[-1], -1)


class Ordered(UnorderedSet):
    """Every state of the set counts as much as its probability."""

    def ratios(self, log_p: Tensor) -> tuple[Tensor, Tensor]:
        _, baseline = super().ratios(log_p)
        return log_p.softmax(-1), baseline


class NotLeft(SumAndSample):
    """The state that is drawn counts as much as the others."""

    def coupling(self, site: Site) -> Coupling:
        others, weights, shares = super().coupling(site)
        equal = torch.full_like(shares[1:], 1 / len(others))
        return Coupling(others, weights, torch.cat([shares[:1], equal]))


@pytest.mark.parametrize("wrong", [WithReplacement(3), Ordered(3), NotLeft(2)], ids=lambda wrong: type(wrong).__name__)
def test_a_mistake_is_noticed(wrong: Coupled):
    assert worst(wrong, Problem(1, 5), copies=80_000) > 8


@pytest.mark.parametrize("draws", [1, 11])
def test_a_number_of_draws_that_cannot_be_is_refused(draws: int):
    with pytest.raises(ValueError, match="draws must be a whole number"):
        UnorderedSet(draws)
