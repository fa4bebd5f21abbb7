"""`FusedAdam` against torch's own: the same weights and state, bit for bit, and no calls of torch's step."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import Adam

from discrete_latents.optimization import FusedAdam

SETTINGS = {
    "plain": {},
    "betas and eps": {"betas": (0.5, 0.9), "eps": 1e-4},
    "weight decay": {"weight_decay": 0.1},
    "AdamW": {"weight_decay": 0.1, "decoupled_weight_decay": True},
    "maximize": {"maximize": True},
    "amsgrad": {"amsgrad": True},
    "rate in a tensor": {"lr": torch.tensor(0.01)},
}


def parameters(dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> list[nn.Parameter]:
    made = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(3, size, generator=made, dtype=dtype)) for size in (1, 40, 7) for dtype in dtypes]


def give_gradients(groups: list[list[nn.Parameter]], without: tuple[int, ...] = ()) -> None:
    """The same gradients to each list."""
    for index in range(len(groups[0])):
        gradient = torch.randn_like(groups[0][index])
        for group in groups:
            group[index].grad = None if index in without else gradient.clone()


def assert_equal(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> None:
    for mine, theirs in zip(one.param_groups, other.param_groups, strict=True):
        for first, second in zip(mine["params"], theirs["params"], strict=True):
            assert torch.equal(first, second)
            assert one.state[first].keys() == other.state[second].keys()
            assert all(torch.equal(value, other.state[second][name]) for name, value in one.state[first].items())


@pytest.fixture
def torchs_steps(monkeypatch) -> list[int]:
    """Counts the steps that are left to torch."""
    counted: list[int] = []
    step = Adam.step
    monkeypatch.setattr(Adam, "step", lambda self, closure=None: counted.append(1) or step(self, closure))
    return counted


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_weights_and_the_state_are_torchs(settings):
    own, theirs = parameters(), parameters()
    ours, torchs = FusedAdam(own, **settings), Adam(theirs, fused=True, **settings)
    for step in range(6):
        give_gradients([own, theirs])
        if step == 3 and "lr" not in settings:  # as the callback LearningRate does
            for optimizer in (ours, torchs):
                optimizer.param_groups[0]["lr"] = 3e-4
        ours.step()
        torchs.step()
    assert_equal(ours, torchs)
    assert not torch.equal(own[0], parameters()[0])


def test_groups_of_parameters_keep_their_own_settings():
    own, theirs = parameters(), parameters()
    ours, torchs = (
        kind([{"params": given[:1], "lr": 0.1}, {"params": given[1:], "weight_decay": 0.3}], lr=0.01, **fused)
        for kind, given, fused in ((FusedAdam, own, {}), (Adam, theirs, {"fused": True}))
    )
    for _ in range(4):
        give_gradients([own, theirs])
        ours.step()
        torchs.step()
    assert_equal(ours, torchs)


@pytest.mark.parametrize("without", [(), (0,), (1, 2)], ids=str)
def test_parameters_that_get_no_gradient_for_some_steps(without):
    own, theirs = parameters(), parameters()
    ours, torchs = FusedAdam(own), Adam(theirs, fused=True)
    for step in range(6):
        give_gradients([own, theirs], without if step in (0, 1, 4) else ())
        ours.step()
        torchs.step()
    assert_equal(ours, torchs)


def test_parameters_of_two_dtypes():
    dtypes = (torch.float32, torch.float64)
    own, theirs = parameters(dtypes), parameters(dtypes)
    ours, torchs = FusedAdam(own), Adam(theirs, fused=True)
    for _ in range(3):
        give_gradients([own, theirs])
        ours.step()
        torchs.step()
    assert_equal(ours, torchs)


def test_a_state_is_loaded_from_torchs_and_by_it():
    own, theirs = parameters(), parameters()
    ours, torchs = FusedAdam(own), Adam(theirs, fused=True)
    for _ in range(3):
        give_gradients([own, theirs])
        ours.step()
        torchs.step()
    saved, others = copy.deepcopy(ours.state_dict()), copy.deepcopy(torchs.state_dict())
    assert saved["param_groups"] == others["param_groups"]
    for _ in range(2):  # loaded into an optimiser that has a state, which must not go on with it
        give_gradients([own, theirs])
        ours.step()
        ours.load_state_dict(others)
        torchs.step()
        torchs.load_state_dict(saved)
    for _ in range(2):
        give_gradients([own, theirs])
        ours.step()
        torchs.step()
    assert_equal(ours, torchs)


def test_a_group_that_is_added_later_is_trained():
    own, theirs = parameters(), parameters()
    ours, torchs = FusedAdam(own[:1]), Adam(theirs[:1], fused=True)
    for step in range(4):
        give_gradients([own, theirs])
        if step == 2:
            ours.add_param_group({"params": own[1:]})
            torchs.add_param_group({"params": theirs[1:]})
        ours.step()
        torchs.step()
    assert_equal(ours, torchs)


def test_only_the_first_step_is_torchs(torchs_steps):
    own = parameters()
    optimizer = FusedAdam(own)
    for _ in range(5):
        give_gradients([own])
        optimizer.step()
    assert len(torchs_steps) == 1


def test_a_closure_is_called_once_with_gradients_and_its_loss_returned():
    own = parameters()
    optimizer = FusedAdam(own)
    called = []

    def closure() -> float:
        called.append(torch.is_grad_enabled())
        give_gradients([own])
        return 7.0

    with torch.no_grad():
        assert [optimizer.step(closure) for _ in range(2)] == [7.0, 7.0]
    assert called == [True, True]


def test_a_gradient_scalers_infinities_leave_the_weights():
    own = parameters()
    optimizer = FusedAdam(own)
    give_gradients([own])
    optimizer.step()
    before = [parameter.clone() for parameter in own]
    give_gradients([own])
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(1.0)
    optimizer.step()
    assert all(torch.equal(first, second) for first, second in zip(before, own, strict=True))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_are_zeroed(set_to_none):
    own = parameters()
    optimizer = FusedAdam([{"params": own[:1]}, {"params": own[1:]}])
    give_gradients([own], without=(1,))
    optimizer.zero_grad(set_to_none=set_to_none)
    found = [parameter.grad for parameter in own]
    assert found[1] is None
    assert all(gradient is None if set_to_none else not gradient.any() for gradient in (found[0], found[2]))


def test_a_saved_state_counts_the_steps_of_each_parameter_by_itself(tmp_path):
    own = parameters()
    optimizer = FusedAdam(own)
    for _ in range(3):
        give_gradients([own])
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)
    counts = [state["step"] for state in saved["state"].values()]
    assert [(count.shape, count.item()) for count in counts] == [((), 3.0)] * len(own)
    torchs = Adam(own, fused=True)
    torchs.load_state_dict(saved)
    give_gradients([own], without=(1,))
    torchs.step()
    assert [torchs.state[parameter]["step"].item() for parameter in own] == [4.0, 3.0, 4.0]
