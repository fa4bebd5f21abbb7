"""Baselines: what they learn from, and that nothing else changes with them."""

from functools import partial

import pytest
import torch
from torch import Tensor

from discrete_latents.latent import Estimator, InputNetwork, MovingAverage, Reinforce
from discrete_latents.latent.score_function.baselines import Scale
from tests.helpers.problems import LATENTS, Problem, make_estimator, traits

UNBIASED = [name for name in LATENTS if traits(name).unbiased]
VALUES = torch.tensor([1.0, -2.0, 4.0])


def constant(value: float, logits: Tensor):
    return lambda sample: sample(logits).sum((-1, -2)) * 0 + value


def leaf(images: int = 6) -> Tensor:
    return torch.randn(images, 1, 3, requires_grad=True)


def gradient(bound: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(bound.sum(), logits)[0]


def state(estimator: Estimator) -> list[Tensor]:
    return [value.clone() for value in estimator.state_dict().values()]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_is_that_of_earlier_signals_without_the_bias_of_its_start(decay: float):
    average = MovingAverage(3, decay)
    signals = [3.0, -1.0, 4.0, 1.0]
    assert average(torch.zeros(1, 1, 3)) == 0
    for count, signal in enumerate(signals, start=1):
        average.observe(torch.tensor([signal - 1, signal + 1]))
        shares = [decay ** (count - i) for i in range(1, count + 1)]
        expected = sum(s * x for s, x in zip(shares, signals, strict=False)) / sum(shares)
        assert average(torch.zeros(1, 1, 3)).item() == pytest.approx(expected, rel=1e-4)


def test_a_signal_does_not_see_itself_in_its_baseline():
    logits = leaf()
    estimator = Reinforce({"average": partial(MovingAverage, decay=0.0)})
    for value, baseline in ((3.0, 0.0), (5.0, 3.0), (5.0, 5.0)):
        torch.manual_seed(1)
        ours = gradient(estimator(constant(value, logits)), logits)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, gradient(Reinforce()(constant(value - baseline, logits)), logits))


@pytest.mark.parametrize("name", UNBIASED)
def test_only_training_moves_what_is_averaged(name: str):
    problem = Problem(2, 2)
    estimator = make_estimator(name)
    estimator(problem.objective(problem.leaves(8)))
    before = state(estimator)
    with torch.no_grad():
        estimator(problem.objective(problem.leaves(8)))
    estimator.eval()
    estimator(problem.objective(problem.leaves(8)))
    assert all(map(torch.equal, before, state(estimator)))
    if any(isinstance(part, MovingAverage | Scale) for part in estimator.modules()):
        estimator.train()(problem.objective(problem.leaves(8)))
        assert not all(map(torch.equal, before, state(estimator)))


def test_the_network_learns_the_expected_signal_of_each_image():
    estimator = Reinforce({"network": InputNetwork})
    estimator(constant(0.0, leaf()))
    optimizer = torch.optim.Adam(estimator.parameters(), 0.01)
    for _ in range(300):
        logits = torch.randn(200, 1, 3) * 2
        bound = estimator(lambda sample, logits=logits: (sample(logits) * VALUES).sum((-1, -2)))
        optimizer.zero_grad()
        (-bound.mean()).backward()
        optimizer.step()
    logits = torch.randn(2000, 1, 3) * 2
    expected = logits.squeeze(1).softmax(-1) @ VALUES
    with torch.no_grad():
        error = (estimator.baselines[0]["network"](logits) - expected).square().mean()
    assert error < 0.2 * expected.var()


def test_the_networks_loss_is_the_squared_error_and_moves_nothing_else():
    logits = leaf()
    estimator = Reinforce({"network": partial(InputNetwork, hidden=5)})
    estimator(constant(0.0, logits))
    network = estimator.baselines[0]["network"]
    weights = list(network.parameters())
    bound = estimator(constant(7.0, logits))
    ours = torch.autograd.grad(-bound.sum(), weights, retain_graph=True)
    error = (network(logits.detach()) - 7).square().sum() / 2
    torch.testing.assert_close(ours, torch.autograd.grad(error, weights))
    z_less_mean = gradient(bound, logits).squeeze(1) / (7 - network(logits)).detach().unsqueeze(1)
    torch.testing.assert_close((z_less_mean + logits.detach().squeeze(1).softmax(-1)).amax(-1), torch.ones(6))


@pytest.mark.parametrize("name", UNBIASED)
def test_what_reduces_the_variance_is_no_part_of_the_value(name: str):
    """To the bit: the value with it is that without it, and the one that evaluation would report."""
    problem = Problem(2, 2, layers=2)
    estimator = make_estimator(name)
    estimator(problem.objective(problem.leaves(8)))
    values = []
    for training, graph in ((True, True), (False, True), (False, False)):
        torch.manual_seed(1)
        with torch.set_grad_enabled(graph):
            values.append(estimator.train(training)(problem.objective(problem.leaves(8))))
    if isinstance(estimator, Reinforce):
        torch.manual_seed(1)
        values.append(Reinforce()(problem.objective(problem.leaves(8))))
    assert all(torch.equal(values[0], value) for value in values[1:])


def test_every_call_has_baselines_of_its_own_for_its_number_of_features():
    def objective(sample):
        first = sample(torch.zeros(5, 2, 3))
        return sample(first.sum((-1, -2))[:, None, None].expand(5, 4, 2)).sum((-1, -2))

    estimator = Reinforce({"network": InputNetwork, "average": MovingAverage}, normalize=True)
    for _ in range(3):
        estimator(objective)
        assert [part["network"].hidden.in_features for part in estimator.baselines] == [6, 8]
        assert len(estimator.scales) == 2


def test_baselines_are_subtracted_in_turn():
    logits = leaf()
    estimator = Reinforce({"first": partial(MovingAverage, decay=0.0), "second": partial(MovingAverage, decay=0.0)})
    for value in (3.0, 10.0):
        estimator(constant(value, logits))
    first, second = estimator.baselines[0].values()
    assert first(logits) == 10
    assert second(logits) == 10 - 3


@pytest.mark.parametrize("name", UNBIASED)
def test_a_state_goes_from_one_that_has_run_to_another_that_has(name: str):
    problem = Problem(2, 2, layers=2)
    estimator, other = make_estimator(name), make_estimator(name)
    for _ in range(3):
        estimator(problem.objective(problem.leaves(8)))
    other(problem.objective(problem.leaves(8)))
    other.load_state_dict(estimator.state_dict())
    draws = []
    for each in (estimator, other):
        torch.manual_seed(1)
        values, gradients = problem.estimates(each, 8)
        draws.append([values, *gradients])
    for ours, theirs in zip(*draws, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("deviation", "scale"), [(0.01, 1.0), (1.0, 1.0), (20.0, 20.0)])
def test_the_scale_is_the_running_deviation_and_at_least_one(deviation: float, scale: float):
    logits = torch.zeros(2000, 1, 2)
    estimator = Reinforce(normalize=True)
    for _ in range(150):
        estimator(lambda sample: (sample(logits)[..., 0, 0] - 0.5) * 2 * deviation)
    assert estimator.scales[0]().item() == pytest.approx(scale, rel=1e-3)


def test_the_scale_divides_the_gradient_of_the_logits_and_not_that_of_the_baselines():
    logits = leaf()
    plain, scaled = (Reinforce({"network": InputNetwork}, normalize=normalize) for normalize in (False, True))
    for estimator in (plain, scaled):
        estimator(constant(0.0, logits))
        estimator.eval()
    plain.load_state_dict(scaled.state_dict(), strict=False)
    scaled.scales[0].variance.fill_(25.0)
    slopes = []
    for estimator in (plain, scaled):
        torch.manual_seed(1)
        bound = estimator(lambda sample: (sample(logits) * VALUES).sum((-1, -2)))
        slopes.append(torch.autograd.grad(bound.sum(), [logits, *estimator.baselines.parameters()]))
    torch.testing.assert_close(slopes[0][0], slopes[1][0] * 5)
    for ours, theirs in zip(slopes[0][1:], slopes[1][1:], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay: float):
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1, got"):
        MovingAverage(3, decay)


def test_a_hidden_layer_without_units_is_refused():
    with pytest.raises(ValueError, match="hidden must be a whole number of at least 1, got 0"):
        InputNetwork(3, hidden=0)
