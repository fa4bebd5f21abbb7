"""The optimiser's learning rate over training, and every optimiser that can be chosen."""

from pathlib import Path

import jaxtyping
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from discrete_latents.optimization import Optimization

OPTIMIZERS = Path(__file__).parents[2] / "configs" / "optimizer"


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
    assert Optimization(torch.optim.SGD, hold=hold).factor(step, 100) == pytest.approx(expected)


def test_training_without_end_keeps_its_rate():
    assert Optimization(torch.optim.SGD, hold=0.5).factor(10**9, float("inf")) == 1.0


def test_the_rate_depends_on_the_step_alone():
    optimization = Optimization(torch.optim.SGD, hold=0.3)
    forwards = [optimization.factor(step, 50) for step in range(51)]
    backwards = [optimization.factor(step, 50) for step in reversed(range(51))]
    assert forwards == backwards[::-1]


@pytest.fixture
def _unchecked(monkeypatch):
    """As a user runs it: the tests' own check of types would be first to refuse a wrong one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("lr", [0, -1e-3, "1e-3", None, float("nan"), float("inf")])
def test_a_learning_rate_that_is_not_positive_is_refused(lr):
    with pytest.raises(ValueError, match=r"^lr must be .*greater than 0, got"):
        Optimization(torch.optim.SGD, lr=lr)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("hold", [-0.1, 1.1, "0.5", None, float("nan")])
def test_a_hold_outside_0_to_1_is_refused(hold):
    with pytest.raises(ValueError, match=r"^hold must be .*between 0 and 1, got"):
        Optimization(torch.optim.SGD, hold=hold)


@pytest.mark.parametrize("name", sorted(path.stem for path in OPTIMIZERS.glob("*.yaml")))
def test_every_optimizer_that_can_be_chosen_reduces_a_quadratic(name):
    with initialize_config_dir(str(OPTIMIZERS), version_base="1.3"):
        optimization = instantiate(compose(name, ["lr=0.05"]))
    parameter = nn.Parameter(torch.linspace(-2, 2, 6))
    optimizer = optimization.optimizer([parameter])
    assert type(optimizer).__name__.lower() == {"adam": "fusedadam", "adamw": "fusedadam"}.get(name, name)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05]
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
