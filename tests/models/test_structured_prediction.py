"""Structured prediction: what is given, what is asked, and how many stochastic layers lie between."""

import pytest
import torch

from discrete_latents.latent import Exact, GumbelSoftmax, HardBound, HardSampler
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import StructuredPrediction
from discrete_latents.models.structured_prediction import HALVES, QUADRANTS, given_pixels
from discrete_latents.networks import MLP
from discrete_latents.optimization import Optimization

SHAPE = (1, 4, 6)


def make_model(**settings) -> StructuredPrediction:
    settings = {"num_latents": 3, "num_classes": 4, "layers": 2, "estimator": GumbelSoftmax(1.0)} | settings
    model = StructuredPrediction(
        image_shape=SHAPE,
        network=MLP([]),
        likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam),
        **settings,
    )
    model.set_base_rate(torch.full(SHAPE, 0.3))
    return model


@pytest.fixture
def batch():
    return torch.rand(5, *SHAPE).round(), torch.zeros(5, dtype=torch.int64)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_net_of_l_layers_draws_l_times_and_each_draw_depends_on_the_one_above(layers: int, num_classes: int, batch):
    logits = []

    class Spy(HardSampler):
        def __call__(self, layer_logits, prior=None):
            logits.append(layer_logits)
            return super().__call__(layer_logits, prior)

    model = make_model(layers=layers, num_classes=num_classes)
    model.objective(batch)(Spy((50,)))
    assert len(logits) == layers
    assert logits[0].shape == (5, 3, num_classes)
    for below in logits[1:]:
        assert below.shape == (50, 5, 3, num_classes)
        assert below.std(0).max() > 0


def test_every_layer_is_trained(batch):
    model = make_model(layers=3)
    model.training_loss(batch)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_the_bound_of_m_samples_is_logsumexp_minus_log_m(batch):
    model = make_model()
    rest = batch[0].flatten(1)[:, model.asked]
    torch.manual_seed(1)
    bound = HardBound(6, chunk=6)(model.objective(batch))
    torch.manual_seed(1)
    logits = []
    model.objective(batch)(lambda z, prior=None: logits.append(z) or HardSampler((6,))(z))
    torch.manual_seed(1)
    output = model.predict(logits[0], HardSampler((6,)))
    per_sample = torch.distributions.Bernoulli(logits=output).log_prob(rest).sum(-1)
    torch.testing.assert_close(bound, per_sample.logsumexp(0) - torch.tensor(6.0).log())


def test_the_exact_bound_is_the_mean_over_both_layers(batch):
    model = make_model(num_latents=1, num_classes=3, estimator=Exact())
    draws = torch.stack([model.objective(batch)(HardSampler((2000,))) for _ in range(10)]).flatten(0, 1)
    off = (draws.mean(0) - model(batch)).abs() / (draws.std(0) / len(draws) ** 0.5)
    assert off.max() < 4.5


@pytest.mark.parametrize(
    "given", [*HALVES, *QUADRANTS, ["top_left", "bottom_right"], ["top_left", "top_right", "bottom_left"]]
)
def test_given_and_asked_share_out_the_image(given):
    mask = given_pixels(given, SHAPE).view(SHAPE)
    parts = HALVES.get(given, (given,)) if isinstance(given, str) else given
    assert mask.sum() == len(parts) * 6
    model = make_model(given=given)
    assert sorted(torch.cat([model.given, model.asked]).tolist()) == list(range(24))


def test_the_top_half_is_the_top_half():
    mask = given_pixels("top", SHAPE).view(SHAPE)
    assert mask[:, :2].all()
    assert not mask[:, 2:].any()


@pytest.mark.parametrize("given", ["middle", [], list(QUADRANTS), ["top"]])
def test_other_parts_are_refused(given):
    with pytest.raises(ValueError, match="given must be one of top, bottom, left, right, or a list of one to three of"):
        given_pixels(given, SHAPE)


def test_completions_keep_what_is_given_and_do_not_see_what_is_asked(batch):
    model = make_model()
    x, _ = batch
    changed = x.clone().flatten(1)
    changed[:, model.asked] = 1 - changed[:, model.asked]
    torch.manual_seed(2)
    first = model.complete(x, 3)
    torch.manual_seed(2)
    second = model.complete(changed.view_as(x), 3)
    assert first.shape == (3, 5, *SHAPE)
    assert torch.equal(first, second)
    assert torch.equal(first.flatten(2)[..., model.given], x.flatten(1)[:, model.given].expand(3, -1, -1))
    assert (first.std(0).flatten(1)[:, model.asked] > 0).any()


def test_it_starts_at_the_base_rate_of_the_asked_pixels():
    model = make_model()
    for parameter in model.head.parameters():
        torch.nn.init.zeros_(parameter)
    completed = model.complete(torch.zeros(2, *SHAPE))
    torch.testing.assert_close(completed.flatten(2)[..., model.asked], torch.full((1, 2, 12), 0.3))
