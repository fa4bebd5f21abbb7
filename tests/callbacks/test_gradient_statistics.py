"""The noise of the gradient, logged while a model trains on it."""

import copy
import math
from collections.abc import Callable

import pytest
import torch

from discrete_latents.callbacks import GradientStatistics
from discrete_latents.latent import Estimator, Exact, GumbelSoftmax, InputNetwork, MovingAverage, Reinforce, Relax
from discrete_latents.latent.gradients import draw_gradients
from discrete_latents.models import CategoricalVAE
from tests.helpers.fitting import fit, make_model

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "gumbel_softmax": GumbelSoftmax,
    "average": lambda: Reinforce({"average": MovingAverage}),
    "nvil": lambda: Reinforce({"network": InputNetwork}, normalize=True),
    "relax": Relax,
}
"""One without state, and those with running averages, networks and a learned temperature."""


def state(model: CategoricalVAE) -> torch.Tensor:
    """Weights, running averages, and where the noise stands."""
    values = [*model.parameters(), *model.buffers(), torch.get_rng_state()]
    return torch.cat([value.detach().flatten().double() for value in values])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_numbers_are_those_of_the_trained_estimator_on_the_first_images(name: str):
    model = make_model(ESTIMATORS[name]())
    logged, data = fit([GradientStatistics(repeats=30, count=7)], model, "gradient")
    assert set(logged) == {"gradient/variance", "gradient/snr"}
    assert all(map(math.isfinite, logged.values()))
    assert logged["gradient/variance"] > 0
    assert 0 <= logged["gradient/snr"] < 10
    with model.evaluation_noise():
        objective = model.objective(next(iter(data.batches("val", 7))))
        draws = draw_gradients(copy.deepcopy(model.estimator).eval(), objective, 30)
    assert draws.gradients.shape == (30, 7, 2, 3)
    assert logged["gradient/variance"] == pytest.approx(draws.variance().item())
    assert logged["gradient/snr"] == pytest.approx(draws.signal_to_noise().item())


def test_there_is_no_noise_where_an_estimator_enumerates():
    logged, _ = fit([GradientStatistics(repeats=5, count=10)], make_model(Exact()), "gradient")
    assert logged["gradient/variance"] == pytest.approx(0, abs=1e-8)
    assert logged["gradient/snr"] > 100


def test_a_lower_temperature_is_noisier():
    logged = {}
    for temperature in (1.0, 0.05):
        torch.manual_seed(0)
        logged[temperature], _ = fit([GradientStatistics(20, 20)], make_model(GumbelSoftmax(temperature)), "gradient")
    assert logged[0.05]["gradient/variance"] > 4 * logged[1.0]["gradient/variance"]
    assert logged[0.05]["gradient/snr"] < logged[1.0]["gradient/snr"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_watching_does_not_change_the_training(name: str):
    """Nor what the estimator learns or remembers, nor the noise that comes next."""
    states = []
    for callbacks in ([], [GradientStatistics(repeats=2, count=5)]):
        torch.manual_seed(0)
        model = make_model(ESTIMATORS[name]())
        before = state(model)
        fit(callbacks, model, "gradient")
        states.append(state(model))
        assert not torch.equal(states[-1], before)
    assert torch.equal(*states)


@pytest.mark.parametrize(("repeats", "count", "message"), [(1, 5, "repeats .* at least 2"), (2, 0, "count .* least 1")])
def test_too_few_draws_for_a_variance_are_refused(repeats: int, count: int, message: str):
    with pytest.raises(ValueError, match=message):
        GradientStatistics(repeats, count)
