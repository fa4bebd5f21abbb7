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


@pytest.fixture
def _unchecked(monkeypatch):
    """As a user runs it: the tests' own check of types would be first to refuse a wrong one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("lr", [0, -1e-3, "1e-3", None, float("nan"), float("inf")])
def test_a_learning_rate_that_is_not_positive_is_refused(lr):
    with pytest.raises(ValueError, match=r"^lr must be .*greater than 0, got"):
        Optimization(torch.optim.SGD, lr=lr)


@pytest.mark.parametrize("name", sorted(path.stem for path in OPTIMIZERS.glob("*.yaml")))
def test_every_optimizer_that_can_be_chosen_reduces_a_quadratic(name):
    with initialize_config_dir(str(OPTIMIZERS), version_base="1.3"):
        optimization = instantiate(compose(name, ["lr=0.05", "schedule=null"]))
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
