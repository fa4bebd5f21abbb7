"""Baselines and critics take their sizes from the first call: no optimiser misses them, and saved ones are loaded."""

import copy

import pytest
import torch
from torch import nn

from discrete_latents.latent import Estimator, InputNetwork, MovingAverage, MuProp, Reinforce, Relax
from tests.helpers.problems import LATENTS, make_estimator

FEATURES = [6, 6]
"""N·K of the two draws of `call`."""


def call(estimator: Estimator) -> None:
    """One step with two draws of three latents of two classes."""
    logits = nn.Parameter(torch.randn(5, 3, 2))

    def objective(sample):
        z = sample(logits, prior=torch.zeros(2))
        return sample(logits + z, prior=torch.zeros(2)).square().sum((-1, -2))

    estimator(objective).sum().backward()


@pytest.mark.parametrize("name", LATENTS)
def test_an_optimiser_has_all_parameters_or_is_refused_in_one_line(name: str):
    estimator = make_estimator(name)
    logits = nn.Parameter(torch.zeros(3))
    refused = ""
    try:
        torch.optim.Adam([logits, *estimator.parameters()])
    except ValueError as error:
        refused = str(error)
    before = {id(parameter) for parameter in estimator.parameters()}
    call(estimator)
    after = {id(parameter) for parameter in estimator.parameters()}
    assert (before == after) == (not refused)
    assert not refused or ("first call" in refused and "features=[N·K]" in refused and "\n" not in refused)
    torch.optim.Adam([logits, *estimator.parameters()])


@pytest.mark.parametrize("name", LATENTS)
def test_saved_weights_are_loaded_into_a_fresh_estimator(name: str):
    estimator, fresh = make_estimator(name), make_estimator(name)
    fresh.load_state_dict(estimator.state_dict())  # nothing is there yet
    for _ in range(2):
        call(estimator)
    noise = torch.get_rng_state()
    fresh.load_state_dict(estimator.state_dict())
    assert torch.equal(noise, torch.get_rng_state())
    saved, loaded = estimator.state_dict(), fresh.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key], loaded[key]) for key in saved)
    parameters = {id(parameter) for parameter in fresh.parameters()}
    call(fresh)
    assert parameters == {id(parameter) for parameter in fresh.parameters()}


@pytest.mark.parametrize("name", LATENTS)
def test_a_fresh_estimator_is_copied_moved_frozen_and_saved(name: str):
    estimator = make_estimator(name)
    copied = copy.deepcopy(estimator).double().requires_grad_(False).eval()
    torch.save(copied.state_dict(), "/dev/null")
    call(copied.train())


MAKERS = {
    "reinforce": lambda **given: Reinforce(
        {"network": InputNetwork, "average": MovingAverage}, normalize=True, **given
    ),
    "muprop": lambda **given: MuProp({"network": InputNetwork}, **given),
    "relax": lambda **given: Relax(**given),
}


@pytest.mark.parametrize("name", MAKERS)
def test_with_features_all_parts_are_there_from_the_start(name: str):
    estimator, later = MAKERS[name](features=FEATURES), MAKERS[name]()
    optimizer = torch.optim.Adam(estimator.parameters())
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    call(estimator)
    call(later)
    assert held == {id(parameter) for parameter in estimator.parameters()}
    assert {key: value.shape for key, value in estimator.state_dict().items()} == {
        key: value.shape for key, value in later.state_dict().items()
    }


@pytest.mark.parametrize("features", [[0], [6, -1]])
def test_features_are_whole_numbers(features: list):
    with pytest.raises(ValueError, match="features must be a whole number of at least 1"):
        Relax(features=features)


def test_their_number_is_asked_too_early_too():
    with pytest.raises(ValueError, match="made at its first call"):
        sum(parameter.numel() for parameter in Relax().parameters())
