"""Temperatures as functions of the global step."""

import math
import warnings

import pytest
import torch

from discrete_latents.latent import Constant, Cosine, Exponential, GumbelSoftmax, Learned, Linear


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (Constant(0.7), {0: 0.7, 10**6: 0.7}),
        (Exponential(1.0, 0.5, 1e-3), {0: 1.0, 100: math.exp(-0.1), 693: math.exp(-0.693), 694: 0.5, 10**6: 0.5}),
        (
            Exponential(2.0, 0.1, 1e-2, period=50),
            {0: 2.0, 49: 2.0, 50: 2 * math.exp(-0.5), 99: 2 * math.exp(-0.5)},
        ),
        (Linear(1.0, 0.2, 100), {0: 1.0, 25: 0.8, 100: 0.2, 101: 0.2}),
        (Cosine(1.0, 0.2, 100), {0: 1.0, 50: 0.6, 25: 0.6 + 0.4 * math.cos(math.pi / 4), 100: 0.2, 500: 0.2}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_schedules_are_the_published_functions_of_the_step(temperature, expected):
    for step, value in reversed(expected.items()):  # in any order: there is no memory
        assert temperature.at(step) == pytest.approx(value)
        temperature.update(step)
        assert temperature().item() == pytest.approx(value)


def test_a_learned_temperature_starts_where_it_is_told_and_is_trained():
    temperature = Learned(1.0, 0.1)
    assert temperature().item() == pytest.approx(1.0)
    estimator = GumbelSoftmax(temperature)
    weight = torch.randn(4)
    logits = torch.randn(100, 2, 4)
    bound = estimator(lambda sample: (sample(logits) * weight).sum((-1, -2)).tanh())
    bound.sum().backward()
    assert temperature.log_excess.grad.abs() > 0
    assert temperature.log_excess in set(estimator.parameters())
    temperature.update(1000)
    assert temperature().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0), "start must be a number greater than 0, got 0"),
        (lambda: Constant(math.nan), "start must be a number greater than 0, got nan"),
        (lambda: Exponential(0.5, 0.5), "minimum must be below start = 0.5, got 0.5"),
        (lambda: Exponential(0.4, 0.5), "minimum must be below start = 0.4, got 0.5"),
        (lambda: Linear(1.0, 0.0), "minimum must be a number greater than 0, got 0.0"),
        (lambda: Linear(1.0, 0.5, 0), "steps must be a whole number of at least 1, got 0"),
        (lambda: Cosine(1.0, 2.0), "minimum must be below start = 1.0, got 2.0"),
        (lambda: Exponential(rate=-1), "rate must be a number greater than 0, got -1"),
        (lambda: Exponential(period=0), "period must be a whole number of at least 1, got 0"),
        (lambda: Learned(0.1, 0.1), "minimum must be below start = 0.1, got 0.1"),
    ],
)
def test_what_is_not_a_schedule_is_refused_in_words(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_temperature_is_part_of_the_state():
    first, second = Exponential(1.0, 0.5, 1e-3), Exponential(1.0, 0.5, 1e-3)
    first.update(300)
    second.load_state_dict(first.state_dict())
    assert second() == first()


SCHEDULES = [Exponential(), Linear(), Cosine()]
STILL = [Constant(0.5), Learned()]


@pytest.mark.parametrize("temperature", SCHEDULES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("with_gradients", [True, False])
def test_a_schedule_that_nobody_updates_says_so_once(temperature, with_gradients):
    estimator = GumbelSoftmax(type(temperature)())
    logits = torch.zeros(2, 3, requires_grad=with_gradients)
    with pytest.warns(UserWarning, match=r"call estimator\.temperature\.update") as said:
        all(len(estimator(logits)) for _ in range(500))
    assert len(said) == 1


@pytest.mark.parametrize("temperature", [*SCHEDULES, *STILL], ids=lambda value: type(value).__name__)
def test_one_that_is_updated_evaluated_or_cannot_move_says_nothing(temperature):
    with warnings.catch_warnings(action="error"):
        estimator = GumbelSoftmax(type(temperature)(0.5) if isinstance(temperature, Constant) else type(temperature)())
        for _ in range(5):
            estimator.eval()(torch.zeros(2, 3))
        for _ in range(50):  # draws at the start
            estimator.train()(torch.zeros(2, 3))
        for step in range(100):
            estimator.temperature.update(step)
            estimator(torch.zeros(2, 3))
            estimator(torch.zeros(2, 3))


def test_the_value_and_the_step_are_shown():
    temperature = Exponential(rate=1e-3)
    assert repr(temperature) == "Exponential(τ = 1, not updated yet)"
    temperature.update(500)
    assert repr(temperature) == "Exponential(τ = 0.6065, at step 500)"
    assert "(temperature): Exponential(τ = 0.6065, at step 500)" in repr(GumbelSoftmax(temperature))
    assert repr(Constant(0.5)) == "Constant(τ = 0.5, constant)"
    assert repr(Learned(1.0, 0.1)) == "Learned(τ = 1, learned)"
