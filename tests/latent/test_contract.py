"""What every estimator must do, found by its YAML: a new one is tested by being there."""

import gc
import weakref

import pytest
import torch

from discrete_latents.latent import HardBound
from tests.helpers.problems import LATENTS, Problem, make_estimator, traits
from tests.helpers.tables import rest_is_slow

pytestmark = pytest.mark.parametrize("name", LATENTS)


def num_classes(name: str, otherwise: int = 3) -> int:
    return 2 if traits(name).bernoulli else otherwise


def test_the_bound_has_one_value_an_image_and_reaches_every_leaf(name: str):
    problem = Problem(2, num_classes(name), layers=2)
    values, gradients = problem.estimates(make_estimator(name), copies=4)
    assert values.shape == (4,)
    assert values.isfinite().all()
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_bernoulli_latents_are_two_classes(name: str):
    values, _ = Problem(3, 2).estimates(make_estimator(name), copies=4)
    assert values.isfinite().all()


@pytest.mark.parametrize("dtype", rest_is_slow([torch.float32, torch.float16, torch.bfloat16, torch.float64], 2))
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e3])
def test_no_precision_logit_or_temperature_gives_a_nan(name: str, dtype, scale: float, temperature: float):
    estimator = make_estimator(name, temperature)
    classes = num_classes(name, 5)
    logits = (torch.randn(2000, 1, classes) * scale).to(dtype).requires_grad_()
    weight = torch.randn(classes, dtype=dtype)

    def objective(sample):
        z = sample(logits, prior=torch.zeros(1, classes, dtype=dtype))
        assert z.dtype == dtype
        assert z.isfinite().all()
        return (z * weight).sum((-1, -2)).to(torch.float64)

    bound = estimator(objective)
    bound.sum().backward()
    assert bound.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_the_sampler(name: str, dtype):
    """Gumbel noise in half precision is cut at 5.5 or 7.6: a class of log-probability -9 would never be drawn."""
    if traits(name).law is not None:
        pytest.skip("its q gives that class no probability")
    rare = torch.tensor([[0.0, -9.0]]).expand(100_000, 1, 2)
    drawn = []

    def objective(sample):
        z = sample(rare)
        drawn.append(z[..., 1] > 0.5)
        return z.sum((-1, -2))

    with torch.no_grad(), torch.autocast("cpu", dtype):
        make_estimator(name, 0.1)(objective)
    assert drawn[0].any()


def test_the_layout_of_the_logits_in_memory_does_not_matter(name: str):
    classes = num_classes(name)
    problem = Problem(2, classes)
    (leaf,) = problem.leaves(4)
    estimator = make_estimator(name)
    bounds = []
    for logits in (leaf, leaf.transpose(-1, -2).contiguous().transpose(-1, -2), leaf.expand(4, 2, classes)):
        torch.manual_seed(3)
        bounds.append(estimator(problem.objective([logits])))
    torch.testing.assert_close(bounds[0], bounds[1])
    torch.testing.assert_close(bounds[0], bounds[2])


def test_what_is_drawn_is_freed_with_the_bound(name: str):
    """A cycle would keep every run's tensors until the collector comes by, gigabytes in evaluation."""
    problem = Problem(2, num_classes(name))
    estimator, drawn = make_estimator(name), []

    def objective(sample):
        z = sample(problem.biases[0].expand(4, -1, -1).clone().requires_grad_(), prior=problem.prior)
        drawn.append(weakref.ref(z))
        return problem.log_likelihood(z)

    gc.disable()
    try:
        estimator(objective).sum().backward()
        HardBound(20, chunk=5)(objective)
        assert len(drawn) >= 5
        assert not any(z() is not None for z in drawn)
    finally:
        gc.enable()


def test_state_survives_a_checkpoint(name: str):
    estimator, other = make_estimator(name, 0.7), make_estimator(name, 0.9)
    other.load_state_dict(estimator.state_dict())
    if estimator.temperature is not None:
        assert other.temperature() == estimator.temperature()
