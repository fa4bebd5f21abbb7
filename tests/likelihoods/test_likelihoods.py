"""Likelihoods: against torch.distributions, summed over pixels, in float32."""

import math

import jaxtyping
import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal
from torch.distributions import Poisson as TorchPoisson

from discrete_latents.likelihoods import KINDS, Bernoulli, Categorical, DiscretizedLogistic, Gaussian, Poisson

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


SHAPES = pytest.mark.parametrize("shape", [IMAGE, (24,)], ids=["images", "vectors"])
COUNTS = {
    "poisson": (Poisson(), lambda output: TorchPoisson(output.exp())),
    "categorical": (Categorical(5), lambda output: TorchCategorical(logits=output)),
}


def whole_numbers(likelihood, shape):
    """Data that a likelihood of whole numbers takes, and outputs for three samples."""
    x = torch.randint(0, 5, (6, *shape))
    return x, torch.randn(3, 6, *likelihood.output_shape(shape))


@SHAPES
@pytest.mark.parametrize("name", COUNTS)
def test_likelihoods_of_whole_numbers_are_torchs_summed_over_features(name, shape):
    likelihood, distribution = COUNTS[name]
    x, output = whole_numbers(likelihood, shape)
    expected = distribution(output).log_prob(x).flatten(2).sum(-1)
    torch.testing.assert_close(likelihood.log_prob(x, output), expected)
    torch.testing.assert_close(likelihood.log_prob(x.float(), output), expected)


@pytest.mark.parametrize("name", COUNTS)
def test_gradients_of_likelihoods_of_whole_numbers_are_torchs(name):
    likelihood, distribution = COUNTS[name]
    x, output = whole_numbers(likelihood, IMAGE)
    output = output.double().requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.log_prob(x, output).sum(), output)
    (expected,) = torch.autograd.grad(distribution(output).log_prob(x).sum(), output)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("name", COUNTS)
def test_means_of_whole_numbers_are_torchs(name):
    likelihood, distribution = COUNTS[name]
    _, output = whole_numbers(likelihood, IMAGE)
    probabilities = output.softmax(-1)
    expected = distribution(output).mean if name == "poisson" else (probabilities * torch.arange(5)).sum(-1)
    torch.testing.assert_close(likelihood.mean(output), expected)


def test_a_poisson_output_for_a_mean_has_that_mean():
    mean = torch.rand(IMAGE) * 30
    torch.testing.assert_close(Poisson().mean(Poisson().output_for_mean(mean)), mean)


def test_a_categorical_output_for_frequencies_has_those():
    frequencies = torch.rand(*IMAGE, 5).softmax(-1)
    output = Categorical(5).output_for_mean(frequencies)
    torch.testing.assert_close(output.softmax(-1), frequencies)
    x = torch.randint(0, 5, (7, *IMAGE))
    torch.testing.assert_close(Categorical(5).statistics(x), torch.nn.functional.one_hot(x, 5).float())


@pytest.mark.parametrize("count", [0, 1, 30, 1_000, 1_000_000])
def test_large_counts_keep_their_figures_in_float32(count):
    """Near the best rate the terms of the usual form cancel: at a million it is a nat off."""
    x = torch.full((1, 1), count)
    for rate in (0.5, 0.9, 1.0, 1.1, 2.0):
        output = torch.tensor([[max(count, 1) * rate]]).log()
        expected = TorchPoisson(output.double().exp()).log_prob(x.double()).sum()
        torch.testing.assert_close(Poisson().log_prob(x, output)[0].double(), expected, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("location", [-0.3, 0.0, 0.31, 1.0, 1.7])
def test_masses_of_the_discretised_logistic_sum_to_1_over_its_256_levels(location, scale):
    levels = torch.arange(256).view(256, 1).double() / 255
    output = torch.tensor([location, math.log(scale)]).double().expand(256, 1, 2)
    masses = DiscretizedLogistic().double().log_prob(levels, output).exp()
    assert masses.min() >= 0
    torch.testing.assert_close(masses.sum(), torch.tensor(1.0).double())
    mean = DiscretizedLogistic().mean(output[0])
    torch.testing.assert_close(mean, (masses.unsqueeze(1) * levels).sum(0), rtol=0, atol=1 / 510)


def logistic_masses(levels, location, scale):
    """Equation 2, as it stands: differences of the distribution function, its ends open."""
    upper = torch.where(levels == 255, 1.0, ((levels / 255 + 1 / 510 - location) / scale).sigmoid())
    return upper - torch.where(levels == 0, 0.0, ((levels / 255 - 1 / 510 - location) / scale).sigmoid())


@SHAPES
def test_the_discretised_logistic_is_equation_2_and_so_is_its_gradient(shape):
    levels = torch.randint(0, 256, (20, *shape)).double()
    levels.flatten()[:2] = torch.tensor([0.0, 255.0])
    location, log_scale = torch.rand(2, 20, *shape).double().requires_grad_()
    output = torch.stack([location, log_scale - 2], -1)
    value = DiscretizedLogistic().double().log_prob(levels / 255, output)
    expected = logistic_masses(levels, location, (log_scale - 2).exp()).log().flatten(1).sum(-1)
    torch.testing.assert_close(value, expected)
    for got, wanted in zip(
        torch.autograd.grad(value.sum(), [location, log_scale], retain_graph=True),
        torch.autograd.grad(expected.sum(), [location, log_scale]),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("log_scale", [-200.0, -9.0, 0.0, 9.0, 200.0])
@pytest.mark.parametrize("location", [-1e3, 0.2, 1e3])
def test_the_discretised_logistic_and_its_gradient_stay_finite(location, log_scale):
    output = torch.tensor([location, log_scale]).expand(1, 256, 2).clone().requires_grad_()
    value = DiscretizedLogistic().log_prob(torch.arange(256).view(1, 256) / 255, output)
    (gradient,) = torch.autograd.grad(value.sum(), output)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("scale", [0.02, 0.1, 1.0])
def test_a_logistic_output_for_a_mean_has_that_mean(scale):
    likelihood, mean = DiscretizedLogistic(scale), torch.rand(IMAGE) * 0.98 + 0.01
    output = likelihood.output_for_mean(mean)
    assert output.shape == likelihood.output_shape(IMAGE)
    torch.testing.assert_close(likelihood.mean(output), mean, rtol=1e-4, atol=1e-5)


def test_float16_levels_are_those_of_bytes():
    levels = torch.arange(256).view(1, 256)
    output = torch.randn(1, 256, 2)
    expected = DiscretizedLogistic().log_prob(levels / 255, output)
    assert torch.equal(DiscretizedLogistic().log_prob((levels / 255).half(), output), expected)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), Poisson(), Categorical(3), DiscretizedLogistic()])
@pytest.mark.parametrize("shape", [IMAGE, (24,)], ids=["images", "vectors"])
def test_inputs_are_what_a_network_of_images_or_of_vectors_reads(likelihood, shape):
    x = torch.randint(0, 2, (5, *shape))
    inputs = likelihood.inputs(
        x if isinstance(likelihood, Poisson | Categorical) else x.float(), torch.full(shape, 0.25)
    )
    assert inputs.shape == (5, shape[0] * (3 if isinstance(likelihood, Categorical) else 1), *shape[1:])
    assert inputs.dtype == torch.float32
    assert len(inputs.unique()) == 2


def test_one_hot_inputs_are_channels():
    x = torch.randint(0, 3, (5, *IMAGE))
    inputs = Categorical(3).inputs(x, torch.zeros(IMAGE))
    for category in range(3):
        channels = inputs[:, IMAGE[0] * category : IMAGE[0] * (category + 1)]
        assert torch.equal(channels, (x == category).float())


TAKEN = {
    Bernoulli: {"binary", "levels", "grey"},
    Gaussian: {"binary", "levels", "grey", "real"},
    DiscretizedLogistic: {"binary", "levels"},
    Poisson: {"binary", "whole"},
    Categorical: {"binary", "whole"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("likelihood", TAKEN)
def test_each_likelihood_takes_its_kinds_and_names_what_it_got(likelihood, kind):
    if kind in TAKEN[likelihood]:
        likelihood().check(kind, 0, 1)
    else:
        with pytest.raises(ValueError, match=rf"^{likelihood.__name__} takes .*, got .* \(0 to 1\); "):
            likelihood().check(kind, 0, 1)


def test_a_category_beyond_the_last_is_refused():
    Categorical(5).check("whole", 0, 4)
    with pytest.raises(ValueError, match=r"^categories must be at least 6, the classes of x, got 5$"):
        Categorical(5).check("whole", 0, 5)


@pytest.mark.parametrize("categories", [1, 0, 2.5])
def test_a_number_of_categories_that_cannot_be_is_refused(categories, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"^categories must be a whole number of at least 2"):
        Categorical(categories)
