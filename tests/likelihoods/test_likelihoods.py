"""Likelihoods: against torch.distributions, summed over pixels, in float32."""

import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from discrete_latents.likelihoods import Bernoulli, Gaussian

SAMPLES = pytest.mark.parametrize("samples", [(), (3,), (2, 3)], ids=str)
BOTH = pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(0.4)], ids=["bernoulli", "gaussian"])
IMAGE = (2, 4, 3)


@pytest.fixture(params=[True, False], ids=["with gradient", "without"])
def gradient(request):
    """On a CPU, Bernoulli sums in another way where no gradient is asked for."""
    with torch.set_grad_enabled(request.param):
        yield


WAYS = pytest.mark.usefixtures("gradient")


@WAYS
@SAMPLES
def test_bernoulli_is_the_sum_over_pixels_of_torchs(samples):
    x = torch.rand(5, *IMAGE).round()
    output = 3 * torch.randn(*samples, 5, *IMAGE)
    expected = TorchBernoulli(logits=output).log_prob(x).sum((-1, -2, -3))
    assert expected.shape == (*samples, 5)
    torch.testing.assert_close(Bernoulli().log_prob(x, output), expected)


@SAMPLES
def test_gaussian_is_the_sum_over_pixels_of_torchs(samples):
    x = torch.rand(5, *IMAGE)
    output = torch.randn(*samples, 5, *IMAGE)
    expected = Normal(output, 0.4).log_prob(x).sum((-1, -2, -3))
    assert expected.shape == (*samples, 5)
    torch.testing.assert_close(Gaussian(0.4).log_prob(x, output), expected)


@WAYS
@BOTH
def test_images_without_channels_or_height_are_summed_over_too(likelihood):
    x, output = torch.rand(5, 24).round(), torch.randn(3, 5, 24)
    as_image = likelihood.log_prob(x.unflatten(1, IMAGE), output.unflatten(2, IMAGE))
    torch.testing.assert_close(likelihood.log_prob(x, output), as_image)


@WAYS
@pytest.mark.parametrize("pixels", [1, 17, 784])
@pytest.mark.parametrize("images", [0, 1, 5])
def test_any_number_of_pixels_and_of_images(pixels, images):
    x, output = torch.rand(images, pixels).round(), 9 * torch.randn(3, images, pixels)
    expected = TorchBernoulli(logits=output.double()).log_prob(x.double()).sum(-1)
    torch.testing.assert_close(Bernoulli().log_prob(x, output).double(), expected, rtol=1e-6, atol=1e-5)


@WAYS
def test_grey_pixels_give_the_cross_entropy():
    x, probability = torch.rand(5, *IMAGE), torch.rand(5, *IMAGE) * 0.98 + 0.01
    expected = (x * probability.log() + (1 - x) * (1 - probability).log()).sum((1, 2, 3))
    torch.testing.assert_close(Bernoulli().log_prob(x, torch.logit(probability)), expected)


@WAYS
def test_bernoulli_stays_finite_at_extreme_outputs():
    output = torch.full((1, *IMAGE), 500.0)
    assert Bernoulli().log_prob(torch.ones(1, *IMAGE), output).item() == 0
    assert Bernoulli().log_prob(torch.zeros(1, *IMAGE), output).item() == -500 * math.prod(IMAGE)


@WAYS
@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_computed_in_float32(likelihood, dtype):
    x, output = torch.rand(5, *IMAGE), (4 * torch.randn(3, 5, *IMAGE)).to(dtype)
    value = likelihood.log_prob(x, output)
    assert value.dtype == torch.float32
    assert torch.equal(value, likelihood.log_prob(x, output.float()))


@WAYS
@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [
        (Bernoulli(), lambda output: TorchBernoulli(logits=output)),
        (Gaussian(0.4), lambda output: Normal(output, torch.tensor(math.log(0.4)).double().exp())),
    ],
    ids=["bernoulli", "gaussian"],
)
def test_double_precision_is_kept(likelihood, expected):
    x, output = torch.rand(5, *IMAGE).round().double(), torch.randn(5, *IMAGE, dtype=torch.float64)
    value = likelihood.double().log_prob(x, output)
    torch.testing.assert_close(value, expected(output).log_prob(x).sum((1, 2, 3)), rtol=1e-12, atol=0)


@BOTH
def test_the_output_for_a_mean_has_that_mean(likelihood):
    mean = torch.rand(IMAGE) * 0.98 + 0.01
    torch.testing.assert_close(likelihood.mean(likelihood.output_for_mean(mean)), mean)


def test_the_means_are_those_of_the_distributions():
    output = torch.randn(5, *IMAGE)
    torch.testing.assert_close(Bernoulli().mean(output), TorchBernoulli(logits=output).mean)
    torch.testing.assert_close(Gaussian().mean(output), Normal(output, 0.3).mean)


def test_a_learned_scale_finds_the_spread_of_the_data():
    gaussian = Gaussian(scale=0.3)
    x = 0.7 * torch.randn(20, *IMAGE)
    optimizer = torch.optim.Adam(gaussian.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        (-gaussian.log_prob(x, torch.zeros_like(x)).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(gaussian.log_scale.exp(), x.square().mean().sqrt(), rtol=0.01, atol=0)


def test_a_scale_that_is_not_learned_is_not_trained():
    assert [p.requires_grad for p in Gaussian(learned=False).parameters()] == [False]
    assert [p.requires_grad for p in Gaussian().parameters()] == [True]
    assert list(Bernoulli().parameters()) == []


@pytest.mark.parametrize("scale", [0, 0.0, -1.0, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match=r"^scale must be .*greater than 0"):
        Gaussian(scale)


# Bernoulli's own gradient, on a CPU


@SAMPLES
@pytest.mark.parametrize("pixels", [1, 17, 784])
def test_the_gradient_is_torchs(samples, pixels):
    x, slope = torch.rand(5, pixels), torch.randn(*samples, 5)
    output = (4 * torch.randn(*samples, 5, pixels)).requires_grad_()
    (ours,) = torch.autograd.grad(Bernoulli().log_prob(x, output), output, slope)
    (theirs,) = torch.autograd.grad(-TorchBernoulli(logits=output).log_prob(x.round()).sum(-1), output, -slope)
    torch.testing.assert_close(ours, theirs + slope.unsqueeze(-1) * (x - x.round()))


@SAMPLES
def test_the_gradient_has_a_gradient_and_images_have_one_too(samples):
    x = torch.rand(2, 6, dtype=torch.float64, requires_grad=True)
    output = torch.randn(*samples, 2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Bernoulli().log_prob, (x, output))
    assert torch.autograd.gradgradcheck(Bernoulli().log_prob, (x, output))


def test_the_transforms_of_torch_func_reach_it():
    x, output = torch.rand(5, 6).round(), torch.randn(5, 6)
    slopes = torch.func.grad(lambda given: Bernoulli().log_prob(x, given).sum())(output)
    torch.testing.assert_close(slopes, x - output.sigmoid())
    expected = Bernoulli().log_prob(x, output)
    one_by_one = torch.func.vmap(lambda x, output: Bernoulli().log_prob(x[None], output[None])[0])
    torch.testing.assert_close(one_by_one(x, output), expected)
    torch.testing.assert_close(
        torch.func.vmap(lambda x: Bernoulli().log_prob(x[None], output[:1])[0])(x[:1]), expected[:1]
    )
