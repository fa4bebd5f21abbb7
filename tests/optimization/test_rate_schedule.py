"""Learning rates over training: pure functions of the step, each of a shape that is known."""

import math
from pathlib import Path

import jaxtyping
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from discrete_latents.optimization import ConstantRate, CosineRate, LinearRate, RateSchedule, StepRate

SCHEDULES = Path(__file__).parents[2] / "configs" / "lr_schedule"
NAMES = sorted(path.stem for path in SCHEDULES.glob("*.yaml"))


def chosen(name: str) -> RateSchedule:
    with initialize_config_dir(str(SCHEDULES), version_base="1.3"):
        return instantiate(compose(name))


def test_every_schedule_that_users_of_templates_know_can_be_chosen():
    assert NAMES == ["constant", "cosine", "linear", "step", "warmup"]


@pytest.mark.parametrize(
    ("hold", "step", "expected"),
    [
        (1.0, 0, 1.0),
        (1.0, 99, 1.0),
        (1.0, 100, 1.0),
        (0.5, 0, 1.0),
        (0.5, 50, 1.0),
        (0.5, 75, 0.5),
        (0.5, 99, 0.02),
        (0.5, 100, 0.0),
        (0.5, 120, 0.0),
        (0.0, 0, 1.0),
        (0.0, 25, 0.75),
        (0.0, 100, 0.0),
        (0.9, 90, 1.0),
        (0.9, 95, 0.5),
    ],
)
def test_the_rate_is_held_then_falls_in_a_line_to_zero(hold, step, expected):
    assert LinearRate(hold).factor(step, 100) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (ConstantRate(), 10**9, 1.0),
        (ConstantRate(warmup=4), 0, 0.2),
        (ConstantRate(warmup=4), 3, 0.8),
        (ConstantRate(warmup=4), 4, 1.0),
        (CosineRate(), 0, 1.0),
        (CosineRate(), 50, 0.5),
        (CosineRate(), 25, (1 + math.sqrt(0.5)) / 2),
        (CosineRate(), 100, 0.0),
        (CosineRate(), 130, 0.0),
        (CosineRate(minimum=0.2), 50, 0.6),
        (CosineRate(minimum=0.2), 130, 0.2),
        (CosineRate(warmup=20), 20, 1.0),
        (CosineRate(warmup=20), 60, 0.5),
        (StepRate(every=30, gamma=0.1), 29, 1.0),
        (StepRate(every=30, gamma=0.1), 30, 0.1),
        (StepRate(every=30, gamma=0.1), 89, 0.01),
        (StepRate(every=30, gamma=0.1, warmup=9), 38, 1.0),
        (StepRate(every=30, gamma=0.1, warmup=9), 39, 0.1),
        (LinearRate(hold=0.5, warmup=20), 60, 1.0),
        (LinearRate(hold=0.5, warmup=20), 80, 0.5),
    ],
)
def test_a_schedule_has_its_shape(schedule, step, expected):
    assert schedule.factor(step, 100) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_depends_on_the_step_alone_and_stays_between_0_and_its_full_value(name):
    one, other = chosen(name), chosen(name)
    forwards = [one.factor(step, 2000) for step in range(0, 2100, 7)]
    backwards = [other.factor(step, 2000) for step in reversed(range(0, 2100, 7))]
    assert forwards == backwards[::-1]
    assert all(0 <= factor <= 1 for factor in forwards)
    assert max(forwards) == 1


@pytest.mark.parametrize("schedule", [LinearRate(0.5), CosineRate(), LinearRate(0.0, warmup=3)])
def test_training_without_end_keeps_its_rate(schedule):
    assert schedule.needs_end
    assert schedule.factor(10**9, math.inf) == 1.0


@pytest.fixture
def _unchecked(monkeypatch):
    """As a user runs it: the tests' own check of types would be first to refuse a wrong one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((LinearRate, "hold", value) for value in (-0.1, 1.1, "0.5", None, float("nan"), True)),
        *((CosineRate, "minimum", value) for value in (-0.1, 1, "0.5", None, float("nan"), True)),
        *((StepRate, "every", value) for value in (0, 1.5, "3", None, True)),
        *((StepRate, "gamma", value) for value in (0, -1.0, "0.5", None, float("inf"))),
        *((ConstantRate, "warmup", value) for value in (-1, 0.5, "3", None, True)),
    ],
)
def test_a_value_that_makes_no_schedule_is_refused(kind, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got"):
        kind(**{name: value})
