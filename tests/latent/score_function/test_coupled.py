"""ARMS, CARMS and DisARM by trees: how they are related, and mistakes in them that enumeration notices."""

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import ARMS, CARMS, RLOO, DisARM, Estimator, NotDefined, StickBreakingDisARM, TreeDisARM
from discrete_latents.latent.layout import one_hot
from discrete_latents.latent.score_function.coupled import Coupled
from discrete_latents.latent.score_function.trace import Site
from tests.helpers.problems import Problem
from tests.latent.score_function.test_unbiased import worst

BITS = Problem(2, 2)
CLASSES = Problem(1, 5)
COUPLED = {"two": lambda: CARMS(2), "seven": lambda: CARMS(7), "tree": TreeDisARM, "sticks": StickBreakingDisARM}


def site(probability: Tensor, copies: int) -> Site:
    """Copies of latents, (N, K), each with its own draw."""
    logits = probability.log().expand(copies, *probability.shape)
    codes = probability.expand(copies, *probability.shape).flatten(0, 1).multinomial(1).view(copies, -1)
    return Site(logits, one_hot(codes, probability.shape[-1], logits.dtype), 0.0)


@pytest.mark.parametrize("name", COUPLED)
def test_each_draw_has_the_probabilities_of_its_latent(name: str):
    """Also of 3 and 6 classes, where the tree is not full, and of very unequal ones."""
    torch.manual_seed(0)
    for probability in (torch.tensor([[0.2, 0.5, 0.3]]), torch.tensor([[0.9, 1e-3, 0.03, 0.05, 0.009, 0.01]])):
        drawn = COUPLED[name]().coupling(site(probability.double(), 40_000)).others
        error = (probability * (1 - probability) / 40_000).sqrt()
        assert ((drawn.mean(1) - probability) / error).abs().max() < 4.5


@pytest.mark.parametrize("estimator", [ARMS(2), CARMS(2), TreeDisARM(), StickBreakingDisARM()], ids=str)
def test_two_draws_of_bits_are_disarm(estimator: Estimator):
    """In distribution: the means and variances agree."""
    ours, disarm = (BITS.estimates(each, 20_000)[1][0] for each in (estimator, DisARM()))
    error = (ours.var(0) / len(ours) + disarm.var(0) / len(disarm)).sqrt()
    assert ((ours.mean(0) - disarm.mean(0)).abs() / error).max() < 4
    torch.testing.assert_close(ours.var(0), disarm.var(0), rtol=0.1, atol=0)


def test_pairs_are_weighted_by_how_often_they_are_drawn():
    """By the product of their probabilities over the share of pairs that are of both classes."""
    torch.manual_seed(0)
    probability = torch.tensor([[0.25, 0.05, 0.3, 0.4]], dtype=torch.float64)
    given = site(probability, 40_000)
    others, weights, _ = CARMS(2).coupling(given)
    first, second = given.z.argmax(-1), others[0].argmax(-1)
    for one, two in [(0, 1), (1, 3), (2, 3), (3, 0)]:
        pairs = (first == one) & (second == two)
        expected = probability[0, one] * probability[0, two] / pairs.double().mean() / 2
        torch.testing.assert_close(weights[0][pairs][0, one], expected, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("ours", "problem", "less"),
    [
        (lambda: ARMS(4), Problem(2, 2), 0.8),
        (lambda: CARMS(4), Problem(2, 3), 0.9),
    ],
)
def test_antithetic_draws_have_less_variance_than_independent_ones(ours: type, problem: Problem, less: float):
    coupled, independent = (problem.estimates(each, 20_000)[1][0].var(0).sum() for each in (ours(), RLOO(4)))
    assert coupled < less * independent


class Unweighted(CARMS):
    """Leave-one-out as if the draws were independent."""

    def ratio(self, stops: Tensor) -> Tensor:
        return torch.ones_like(stops)


class NotPassed(CARMS):
    """The ratio without the sticks that both draws pass."""

    def ratio(self, stops: Tensor) -> Tensor:
        return super().ratio(stops.flatten(1).unsqueeze(-1).expand(-1, -1, 2))[..., 0].view_as(stops)


class Likeliest(TreeDisARM):
    """Scores below the parting node, but no σ(|a|) at it."""

    def parting(self, q: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        others, own, theirs = super().parting(q, codes)
        return others, own | theirs, own | theirs


class Swapped(StickBreakingDisARM):
    """S in place of S̃."""

    def parting(self, q: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        others, own, theirs = super().parting(q, codes)
        return others, theirs, own


class Independent(TreeDisARM):
    """z̃ knows nothing of z."""

    def parting(self, q: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        again = q.flatten(0, 1).multinomial(1).view(codes.shape)
        _, own, theirs = super().parting(q, codes)
        return again, own, theirs


@pytest.mark.parametrize(
    "wrong",
    [Unweighted(3), NotPassed(3), Likeliest(), Swapped(), Independent()],
    ids=lambda wrong: type(wrong).__name__,
)
def test_a_mistake_is_noticed(wrong: Coupled):
    assert worst(wrong, CLASSES, copies=100_000) > 8


def test_arms_is_refused_for_more_than_two_classes():
    with pytest.raises(NotDefined, match="arms is defined for Bernoulli latents, num_classes = 2, got 5"):
        CLASSES.estimates(ARMS(), 2)
    with pytest.raises(ValueError, match="draws must be a whole number of at least 2, got 1"):
        CARMS(draws=1)
