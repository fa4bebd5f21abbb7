"""ReinMax-Rao and ReinMax-CV: rules by integration over the noise of a bit, and what they lose of ReinMax."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from discrete_latents.latent import Pathwise, ReinMax, ReinMaxCV, ReinMaxRao, layout
from discrete_latents.latent.distributions import conditional_gumbels, sample
from discrete_latents.latent.pathwise.base import with_gradient_of
from tests.helpers.problems import Problem, standard_errors_off

LOG_ODDS = torch.tensor(0.8, dtype=torch.float64)
GRID = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
PROBLEM = Problem(2, 3)


def slopes(log_odds: Tensor, temperature: float, above: bool, base: Tensor) -> Tensor:
    """∂/∂a of σ((a + L) / τ) at a = log_odds, averaged over the logistic noise L given that base + L is above 0 or
    not."""
    noise = GRID.logit()
    noise = noise[(base + noise > 0) == above]
    soft = ((log_odds + noise) / temperature).sigmoid()
    return (soft * (1 - soft) / temperature).mean()


def drawn_slopes(estimator: Pathwise, copies: int = 20_000) -> dict[int, Tensor]:
    """Draws of ∂z₁/∂a of a bit, by its value."""
    logits = torch.stack([torch.zeros_like(LOG_ODDS), LOG_ODDS]).expand(copies, 1, 2).clone().requires_grad_()
    z = estimator(logits)
    gradient = torch.autograd.grad(z[..., 1].sum(), logits)[0][:, 0, 1]
    return {bit: gradient[z[:, 0, 1].round() == bit] for bit in (0, 1)}


class Shared(ReinMaxRao):
    """The mistake: the noise is given D around θ, not θ_D."""

    def rsample(self, logits: Tensor) -> Tensor:
        hard = sample(logits)
        shift = torch.logaddexp(logits.log_softmax(-1), hard.log()) - logits.log_softmax(-1)
        perturbed = conditional_gumbels(logits.detach(), hard, self.draws) + shift.detach() + logits - logits.detach()
        return with_gradient_of(
            2 * layout.softmax(perturbed / self.temperature()).mean(0) - logits.softmax(-1) / 2, hard
        )


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_reinmax_rao_of_a_bit_by_integration(temperature: float):
    p = LOG_ODDS.sigmoid()
    ours, mistaken = drawn_slopes(ReinMaxRao(temperature)), drawn_slopes(Shared(temperature))
    off = []
    for bit in (0, 1):
        middle = ((p + bit) / 2).logit()
        expected = 2 * slopes(middle, temperature, bit == 1, middle) - p * (1 - p) / 2
        assert standard_errors_off(ours[bit], expected) < 4
        off.append(standard_errors_off(mistaken[bit], expected))
    assert max(off) > 8


def test_reinmax_rao_is_not_exact_for_linear_objectives():
    """In the cold limit of Gumbel-Rao, (J(π_D) + (D − π_D)(D − π_D)ᵀ) / 2, the mean of its 2 ḡ − π / 2 is J / 2."""
    p, mean = LOG_ODDS.sigmoid(), torch.zeros_like(LOG_ODDS)
    for bit, probability in ((0, 1 - p), (1, p)):
        middle = ((p + bit) / 2).logit()
        mean = mean + probability * (2 * slopes(middle, 1e-3, bit == 1, middle) - p * (1 - p) / 2)
    assert mean.item() == pytest.approx(p.item() * (1 - p.item()) / 2, rel=0.01)


def test_the_midpoint_is_moved_as_reinmax_moves_it():
    """Without noise the two are one."""
    module = "discrete_latents.latent.pathwise.gumbel_rao.conditional_gumbels"
    torch.manual_seed(0)
    ours = _gradient_without_noise(module)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, PROBLEM.estimates(ReinMax(), 100)[1][0])


def _gradient_without_noise(module: str) -> Tensor:
    with patch(module, lambda logits, hard, *shape: logits.expand(*shape, *logits.shape)):
        return PROBLEM.estimates(ReinMaxRao(1.0, draws=1), 100)[1][0]


def test_with_conditional_noise_the_term_has_mean_0_and_adds_its_variance():
    copies = 30_000
    plain = PROBLEM.estimates(ReinMax(), copies)[1][0]
    right = PROBLEM.estimates(ReinMaxCV(conditional=True), copies)[1][0]
    published = PROBLEM.estimates(ReinMaxCV(), copies)[1][0]
    error = ((plain.var(0) + right.var(0)) / copies).sqrt()
    assert ((plain.mean(0) - right.mean(0)).abs() / error).max() < 4
    assert ((plain.mean(0) - published.mean(0)).abs() / error).max() > 8
    assert right.var(0).sum() > 1.01 * plain.var(0).sum()


@pytest.mark.parametrize("conditional", [True, False])
def test_the_added_term_at_each_class_of_a_bit_by_integration(conditional: bool):
    temperature, scale = 0.5, 0.7
    p = LOG_ODDS.sigmoid()
    ours = drawn_slopes(ReinMaxCV(temperature, scale, conditional=conditional))
    for bit in (0, 1):
        m = (p + bit) / 2
        middle = m.logit()
        averaged = slopes(middle, temperature, bit == 1, middle)
        single = slopes(middle, temperature, bit == 1, middle if conditional else LOG_ODDS)
        expected = 2 * m * (1 - m) - p * (1 - p) / 2 + scale * (averaged - single)
        assert standard_errors_off(ours[bit], expected) < 4
        assert conditional or (averaged - single).abs() > 0.02


def test_scale_0_is_reinmax():
    logits = torch.tensor([0.5, -0.3, 0.9], dtype=torch.float64)
    for drawn in range(3):
        hard, rows = F.one_hot(torch.tensor(drawn), 3).double(), []
        for estimator, module in (
            (ReinMaxCV(scale=0.0), "reinmax_rao.layout.argmax_one_hot"),
            (ReinMax(), "reinmax.sample"),
        ):
            leaf = logits.clone().requires_grad_()
            with patch(f"discrete_latents.latent.pathwise.{module}", lambda _, hard=hard: hard):
                z = estimator(leaf)
            rows.append(torch.stack([torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in z]))
        torch.testing.assert_close(*rows)
