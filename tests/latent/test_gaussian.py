"""Gaussian latents beside the discrete ones: their KL, in closed form and sampled."""

import torch
from torch.distributions import Normal, kl_divergence

from discrete_latents.latent import HardBound, HardSampler
from tests.helpers.problems import standard_errors_off


def test_the_kl_of_one_draw_is_the_closed_form():
    mean, log_scale = torch.randn(5, 3), torch.randn(5, 3)
    sampler = HardSampler()
    z = sampler.normal(mean, log_scale)
    assert z.shape == (5, 3)
    expected = kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(sampler.kl, expected)


def test_the_kl_of_several_draws_is_that_of_each():
    mean, log_scale = torch.randn(5, 3), torch.randn(5, 3)
    sampler = HardSampler((7,), sampled=True)
    z = sampler.normal(mean, log_scale)
    expected = Normal(mean, log_scale.exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(sampler.kl, expected.sum(-1))


def test_draws_have_their_mean_and_scale_and_pass_gradients():
    mean = torch.tensor([[1.0, -2.0]]).expand(100_000, 2).clone().requires_grad_()
    z = HardSampler().normal(mean, torch.full((100_000, 2), 0.5).log())
    assert standard_errors_off(z.detach(), torch.tensor([1.0, -2.0])) < 4
    torch.testing.assert_close(z.detach().std(0), torch.tensor([0.5, 0.5]), atol=0.01, rtol=0)
    assert torch.equal(torch.autograd.grad(z.sum(), mean)[0], torch.ones_like(mean))


def test_the_bound_with_a_gaussian_latent_tends_to_the_log_likelihood():
    """x ~ N(z, 1), z ~ N(0, 1): log p(x) is that of N(0, 2)."""
    x = torch.tensor([0.7]).expand(2000)

    def objective(sample):
        z = sample.normal(torch.full((2000, 1), 0.2), torch.full((2000, 1), -0.2)).squeeze(-1)
        return Normal(z, 1.0).log_prob(x)

    expected = Normal(0.0, 2**0.5).log_prob(torch.tensor(0.7))
    assert abs(HardBound(500)(objective).mean() - expected) < 0.002
    assert HardBound(1)(objective).mean() < expected - 0.01
