"""What estimators note of a run and run again, and Gumbel noise given the class that it led to."""

import pytest
import torch
from torch import Tensor

from discrete_latents.latent.distributions import categorical_kl, conditional_gumbels, gumbel_like, sample
from discrete_latents.latent.layout import one_hot
from discrete_latents.latent.sampler import log_weights
from discrete_latents.latent.score_function.trace import Recorder, Site
from tests.helpers.problems import standard_errors_off

B, N, K = 3, 2, 4
PRIOR = torch.randn(N, K, generator=torch.Generator().manual_seed(5))
COUPLING = torch.randn(N * K, N * K, generator=torch.Generator().manual_seed(6))


class Objective:
    """A layer, a Gaussian that depends on it, a layer without a prior, one with; what was drawn stays to be seen."""

    def __init__(self) -> None:
        self.logits = torch.randn(B, N, K, requires_grad=True)
        self.seen: list[Tensor] = []
        self.given: list[Tensor] = []

    def __call__(self, sample) -> Tensor:
        first = sample(self.logits, prior=PRIOR)
        mean = first.flatten(-2)[..., :2]
        normal = sample.normal(mean, mean / 2)
        self.given = [self.below(first) * normal.sum(-1)[..., None, None]]
        second = sample(self.given[0])
        self.given.append(self.below(second))
        third = sample(self.given[1], prior=PRIOR)
        self.seen = [first, normal - mean, second, third]
        return (third * PRIOR).sum((-1, -2)) + normal.sum(-1)

    def below(self, z: Tensor) -> Tensor:
        return (z.flatten(-2) @ COUPLING).unflatten(-1, (N, K))


def recorded(*shape: int, sampled: bool = False) -> tuple[Objective, Recorder, Tensor]:
    objective, recorder = Objective(), Recorder(shape, sampled)
    return objective, recorder, log_weights(objective, recorder)


@pytest.mark.parametrize("shape", [(B,), (5, B)])
def test_what_is_added_to_a_bound_is_zero_with_the_given_gradient(shape: tuple[int, ...]):
    logits = (torch.randn(B, N, K) * 1e4).requires_grad_()
    gradient = torch.randn(*shape, N, K, requires_grad=True)
    zeros = Site(logits, torch.zeros(*shape, N, K), 0.0).with_gradient(gradient)
    assert torch.equal(zeros, torch.zeros(shape))
    reached, other = torch.autograd.grad(zeros.sum(), (logits, gradient), allow_unused=True)
    assert other is None
    torch.testing.assert_close(reached, gradient.detach().reshape(-1, B, N, K).sum(0))


def test_the_score_is_the_gradient_of_the_log_probability():
    logits = torch.randn(5, B, N, K, requires_grad=True)
    z = sample(logits.detach())
    expected = torch.autograd.grad((z * logits.log_softmax(-1)).sum(), logits)[0]
    score = Site(logits, z, 0.0).score()
    torch.testing.assert_close(score, expected)
    assert not score.requires_grad


def test_a_site_knows_the_analytic_kl_that_its_draw_does_not_change():
    """Its own too: it is there before the draw. The Gaussian's after it depends on it."""
    objective, recorder, _ = recorded()
    first, _, second, third = objective.seen
    mean = first.flatten(-2)[..., :2]
    gaussian = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (mean / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    ).sum(-1)
    own = categorical_kl(objective.logits, PRIOR).detach()
    last = categorical_kl(objective.given[1], PRIOR)
    for site, z, kl in zip(
        recorder.sites, (first, second, third), (own, own + gaussian, own + gaussian + last), strict=True
    ):
        assert torch.equal(site.z, z)
        torch.testing.assert_close(site.kl, kl)
        assert not site.kl.requires_grad
    torch.testing.assert_close(recorder.kl.detach(), own + gaussian + last)


def test_a_sampled_kl_depends_on_its_own_draw():
    objective, recorder, _ = recorded(5, sampled=True)
    first, second, _ = recorder.sites
    assert first.kl == 0.0
    log_ratio = (first.z * (objective.logits.log_softmax(-1) - PRIOR.log_softmax(-1))).sum((-1, -2))
    noise = recorder.noise[0]
    mean = first.z.flatten(-2)[..., :2]
    gaussian = ((objective.seen[1] + mean).square() - noise.square()) / 2 - mean / 2
    torch.testing.assert_close(second.kl, (log_ratio + gaussian.sum(-1)).detach())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_same_draws_again_are_the_same_run(index: int):
    """Whether or not the sites below are drawn: here they are given what was drawn before."""
    objective, recorder, bound = recorded()
    later = iter([site.z for site in recorder.sites[index + 1 :]])
    again = log_weights(objective, recorder.replay(index, recorder.sites[index].z, below=lambda _: next(later)))
    assert torch.equal(again, bound)


@pytest.mark.parametrize("front", [(), (2,)])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_replay_keeps_what_is_above_and_the_noise_and_draws_what_is_below(index: int, front: tuple[int, ...]):
    objective, recorder, _ = recorded()
    before = [site.z for site in recorder.sites]
    z = one_hot(torch.randint(K, (*front, B, N)), K, torch.float32)
    drawn: list[Tensor] = []

    def below(logits: Tensor) -> Tensor:
        drawn.append(logits.softmax(-1))
        return drawn[-1]

    bound = log_weights(objective, recorder.replay(index, z, below))
    after = [objective.seen[0], objective.seen[2], objective.seen[3]]
    assert bound.shape == (*front, B)
    for site in range(index):
        assert torch.equal(after[site], before[site])
    assert torch.equal(after[index], z)
    assert len(drawn) == 2 - index
    for soft, site in zip(drawn, range(index + 1, 3), strict=True):
        assert torch.equal(after[site], soft)
    scale = (after[0].flatten(-2)[..., :2] / 2).exp()
    torch.testing.assert_close(objective.seen[1], scale * recorder.noise[0])


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_the_largest_is_the_given_class_and_nothing_overflows(num_classes: int, scale: float):
    """At ±1e4 the given class is often one that would never be drawn."""
    logits = (torch.randn(5000, N, num_classes) * scale).requires_grad_()
    z = one_hot(torch.randint(num_classes, (5000, N)), num_classes, torch.float32)
    perturbed = conditional_gumbels(logits, z)
    largest = (perturbed * z).sum(-1, keepdim=True)
    assert (perturbed <= largest).all()
    assert torch.equal(perturbed.argmax(-1), z.argmax(-1))
    (gradient,) = torch.autograd.grad(perturbed.sum(), logits)
    assert perturbed.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("given", [0, 1, 2])
def test_the_law_is_that_of_the_gumbels_which_led_to_the_class(given: int):
    log_p = torch.tensor([[0.4, -0.8, 1.0]], dtype=torch.float64).log_softmax(-1).expand(400_000, 1, 3)
    free = log_p + gumbel_like(log_p)
    kept = free[free.argmax(-1).squeeze(1) == given].squeeze(1)
    z = one_hot(torch.tensor([given]), 3, torch.float64).expand(len(kept), 1, 3)
    ours = conditional_gumbels(log_p[: len(kept)] + 7, z).squeeze(1)
    pairs = (ours.unsqueeze(-1) * ours.unsqueeze(-2), kept.unsqueeze(-1) * kept.unsqueeze(-2))
    for mine, theirs in ((ours, kept), pairs, (ours.sigmoid(), kept.sigmoid()), (ours**3, kept**3)):
        assert standard_errors_off(mine - theirs, torch.zeros(())) < 4


@pytest.mark.parametrize("given", [0, 1])
def test_the_largest_is_a_standard_gumbel_whatever_the_class(given: int):
    z = one_hot(torch.tensor([given]), 2, torch.float64)
    logits = torch.tensor([[3.0, 0.0]], dtype=torch.float64).expand(200_000, 1, 2)
    largest = conditional_gumbels(logits, z.expand_as(logits)).amax((-1, -2))
    for quantile in (0.01, 0.1, 0.5, 0.9, 0.99):
        below = (-(-largest).exp()).exp() < quantile
        assert standard_errors_off(below.double(), torch.tensor(quantile)) < 4


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_gradient_is_that_of_the_samples_with_common_noise(num_classes: int):
    logits = torch.randn(6, N, num_classes, dtype=torch.float64, requires_grad=True)
    z = one_hot(torch.randint(num_classes, (6, N)), num_classes, torch.float64)

    def perturbed(logits: Tensor) -> Tensor:
        torch.manual_seed(3)
        return conditional_gumbels(logits, z)

    torch.autograd.gradcheck(perturbed, logits)
    largest = (perturbed(logits) * z).sum()
    assert not torch.autograd.grad(largest, logits)[0].any()
