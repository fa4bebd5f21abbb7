"""β and free bits: schedules of the step alone, and what they make of a bound and of its gradient."""

import jaxtyping
import pytest
import torch

from discrete_latents.latent import (
    RLOO,
    CosineKL,
    Exact,
    GumbelSoftmax,
    HardSampler,
    KLSchedule,
    KLWeight,
    LinearKL,
    NotDefined,
    STGumbel,
)
from discrete_latents.latent.distributions import categorical_kl

SHAPES = [
    (KLSchedule(4.0), 10**6, 4.0),
    (LinearKL(steps=100), 0, 0.0),
    (LinearKL(steps=100), 25, 0.25),
    (LinearKL(steps=100), 100, 1.0),
    (LinearKL(steps=100), 10**6, 1.0),
    (LinearKL(start=1.0, end=0.0, steps=10), 5, 0.5),
    (LinearKL(steps=50, period=100), 99, 1.0),
    (LinearKL(steps=50, period=100), 100, 0.0),
    (LinearKL(steps=50, period=100), 1025, 0.5),
    (CosineKL(steps=100), 50, 0.5),
    (CosineKL(steps=100), 100, 1.0),
]


@pytest.mark.parametrize(("schedule", "step", "expected"), SHAPES)
def test_a_schedule_is_a_function_of_the_step_alone(schedule, step, expected):
    assert schedule.at(step) == pytest.approx(expected)
    schedule.update(step)
    assert schedule().item() == pytest.approx(expected)
    schedule.update(0)
    assert schedule().item() == pytest.approx(schedule.start)
    assert not schedule.state_dict()  # a resumed run computes it


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("start", value) for value in (-0.1, float("inf"), "1")),
        *(("end", value) for value in (-1.0, None)),
        *(("steps", value) for value in (0, 1.5)),
        *(("period", value) for value in (0, 999)),
    ],
)
def test_a_value_that_makes_no_schedule_is_refused(monkeypatch, name, value):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got"):
        LinearKL(**{name: value})


LOGITS = torch.randn(7, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
PRIOR = torch.zeros(3, 4, dtype=torch.float64)
VALUES = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def objective(sample):
    return (sample(LOGITS, prior=PRIOR) * VALUES).sum((-1, -2))


def weight(beta=1.0, free_bits=0.0):
    return KLWeight(KLSchedule(beta), KLSchedule(free_bits)).double()


def gradient(bound):
    return torch.autograd.grad(bound.mean(), LOGITS)[0]


@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0])
@pytest.mark.parametrize("estimator", [Exact(), GumbelSoftmax(0.5), STGumbel(1.0)], ids=lambda one: type(one).__name__)
def test_beta_weighs_the_kl_of_value_and_gradient(beta, estimator):
    torch.manual_seed(3)
    plain = estimator(objective)
    torch.manual_seed(3)
    weighted = estimator(weight(beta)(objective, estimator))
    kl = categorical_kl(LOGITS, PRIOR)
    assert torch.allclose(weighted, plain + (1 - beta) * kl)
    assert torch.allclose(gradient(weighted), gradient(plain) + (1 - beta) * gradient(kl))


def test_a_score_function_of_a_weighted_objective_has_the_mean_of_the_exact_gradient():
    weigh, estimator = weight(0.25, 0.3), RLOO(draws=20_000)
    exact = gradient(Exact()(weigh(objective, Exact())))
    assert (gradient(estimator(weigh(objective, estimator))) - exact).abs().max() < 0.003
    assert (gradient(Exact()(objective)) - exact).abs().max() > 0.03  # which a forgotten weight would give


@pytest.mark.parametrize("free", [0.05, 0.4, 10.0])
def test_free_bits_are_the_mean_kl_of_each_latent_or_lambda(free):
    kl = categorical_kl(LOGITS.unsqueeze(-2), PRIOR.unsqueeze(-2))
    reconstruction = Exact()(objective) + kl.sum(-1)
    expected = reconstruction.mean() - kl.mean(0).clamp(min=free).sum()
    bound = Exact()(weight(free_bits=free)(objective, Exact())).mean()
    assert torch.allclose(bound, expected)
    assert torch.allclose(gradient(bound), gradient(expected))


def test_without_weights_an_objective_is_itself():
    assert KLWeight()(objective, Exact()) is objective
    assert weight()(objective, Exact()) is objective
    assert not KLWeight().changes
    assert KLWeight(LinearKL()).changes


@pytest.mark.parametrize("estimator", [GumbelSoftmax(kl="relaxed"), STGumbel(kl="sampled", samples=3)])
def test_free_bits_of_a_kl_that_is_no_mean_are_refused(estimator):
    with pytest.raises(NotDefined, match=r"^free_bits must be 0"):
        weight(free_bits=0.1)(objective, estimator)


def test_a_prior_is_not_needed():
    sampler = HardSampler()
    value = weight(0.5, 0.1)(lambda sample: sample(LOGITS).sum((-1, -2)), Exact())(sampler)
    assert torch.allclose(value, torch.full((7,), 3.0, dtype=torch.float64))
