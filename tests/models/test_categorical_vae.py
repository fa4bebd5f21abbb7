"""The categorical VAE: its start at the base rate, its latents, its prior and its pictures."""

import math
from functools import partial

import pytest
import torch

from discrete_latents.latent import Exact, GumbelSoftmax, HardSampler, Sampler, layout
from discrete_latents.likelihoods import Bernoulli, Gaussian
from discrete_latents.models import CategoricalVAE
from discrete_latents.networks import CNN, MLP
from discrete_latents.optimization import Optimization

SHAPE = (1, 8, 8)


def make_model(num_latents=4, num_classes=3, estimator=None, likelihood=None, network=MLP, **settings):
    model = CategoricalVAE(
        SHAPE,
        num_latents=num_latents,
        num_classes=num_classes,
        network=network([6]),
        estimator=estimator or GumbelSoftmax(),
        likelihood=likelihood or Bernoulli(),
        optimization=Optimization(torch.optim.Adam),
        **settings,
    )
    model.set_base_rate(torch.rand(SHAPE) * 0.9 + 0.05)
    return model


def make_batch(count=5):
    return torch.rand(count, *SHAPE).round(), torch.arange(count) % 10


def inputs_of(network, run):
    """What a network is given while `run` runs."""
    given = []
    handle = network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach()))
    run()
    handle.remove()
    return given


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian()], ids=["bernoulli", "gaussian"])
@pytest.mark.parametrize("network", [MLP, CNN])
def test_with_z_without_effect_the_model_is_the_base_rate(likelihood, network):
    model = make_model(likelihood=likelihood, network=network)
    mean = torch.rand(SHAPE) * 0.9 + 0.05
    model.set_base_rate(mean)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    z = layout.one_hot(torch.randint(0, 3, (2, 5, 4)), 3, torch.float32)
    torch.testing.assert_close(model.likelihood.mean(model.decode(z)), mean.expand(2, 5, *SHAPE))


def test_the_encoder_sees_images_centred_at_the_mean_image():
    model = make_model()
    (given,) = inputs_of(model.encoder, lambda: model.encode(model.mean_image.expand(2, *SHAPE)))
    assert torch.equal(given, torch.zeros(2, *SHAPE))


def test_the_base_rate_is_part_of_the_state():
    model, other = make_model(), make_model()
    other.load_state_dict(model.state_dict())
    x = make_batch()[0]
    assert torch.equal(other.encode(x), model.encode(x))


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_logits_and_outputs_have_the_shapes_of_the_latents(num_classes):
    model = make_model(num_classes=num_classes)
    logits = model.encode(make_batch()[0])
    assert logits.shape == (5, 4, num_classes)
    assert model.decode(logits.expand(7, 5, 4, num_classes)).shape == (7, 5, *SHAPE)


@pytest.mark.parametrize(("num_classes", "width"), [(2, 4), (3, 12), (10, 40)])
def test_two_classes_are_one_bernoulli_unit(num_classes, width):
    model = make_model(num_classes=num_classes)
    assert model.encoder(make_batch()[0]).shape == (5, width)
    (units,) = inputs_of(model.decoder, lambda: model.objective(make_batch())(HardSampler()))
    assert units.shape == (5, width)
    assert set(units.unique().tolist()) == ({-1.0, 1.0} if num_classes == 2 else {0.0, 1.0})


def test_the_bound_is_the_evidence_lower_bound():
    """Σ q(z | x) log p(x | z) − KL, by hand over all 2 latents of 3 classes."""
    model = make_model(num_latents=2, estimator=Exact(), prior="learned")
    torch.nn.init.normal_(model.prior_logits)
    x, labels = make_batch()
    q, prior = model.encode(x).softmax(-1), model.prior_logits.softmax(-1)
    expected = torch.zeros(5)
    for first in range(3):
        for second in range(3):
            z = torch.nn.functional.one_hot(torch.tensor([first, second]), 3).float().expand(5, 2, 3)
            weight = q[:, 0, first] * q[:, 1, second]
            density = prior[0, first] * prior[1, second]
            log_likelihood = torch.distributions.Bernoulli(logits=model.decode(z)).log_prob(x).sum((1, 2, 3))
            expected += weight * (log_likelihood + density.log() - weight.log())
    torch.testing.assert_close(model((x, labels)), expected)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_a_certain_posterior_under_a_uniform_prior_costs_log_k_a_latent(num_classes):
    model = make_model(num_classes=num_classes, prior="uniform")
    with torch.no_grad():
        model.encoder[-1].weight *= 1e6
    sampler = HardSampler()
    model.objective(make_batch())(sampler)
    torch.testing.assert_close(sampler.kl, torch.full((5,), 4 * math.log(num_classes)))


def test_a_posterior_that_is_the_prior_costs_nothing():
    model = make_model()
    torch.nn.init.normal_(model.prior_logits)
    with torch.no_grad():
        model.encoder[-1].weight.zero_()
        model.encoder[-1].bias.copy_(model.prior_logits.T.flatten())
    sampler = HardSampler()
    model.objective(make_batch())(sampler)
    torch.testing.assert_close(sampler.kl, torch.zeros(5))


@pytest.mark.parametrize(("prior", "trained"), [("learned", True), ("uniform", False)])
def test_a_learned_prior_is_trained_and_a_uniform_one_is_not(prior, trained):
    model = make_model(prior=prior)
    assert torch.equal(model.prior_logits, torch.zeros(4, 3))
    model(make_batch()).mean().backward()
    assert (model.prior_logits.grad is not None and bool(model.prior_logits.grad.abs().max() > 0)) == trained


def test_the_encoder_runs_once_however_often_an_estimator_runs_the_objective():
    model = make_model(eval_samples=25, eval_chunk=10)
    decoded = []
    model.decoder.register_forward_hook(lambda *_: decoded.append(1))
    given = inputs_of(model.encoder, lambda: model.evaluator(model.objective(make_batch())))
    assert (len(given), len(decoded)) == (1, 3)


def test_the_objective_takes_any_sample_dimensions():
    def site(logits, prior, shape):
        return logits.softmax(-1).expand(*shape, *logits.shape), 0.0

    value = make_model().objective(make_batch())(Sampler(site, (2, 3)))
    assert value.shape == (2, 3, 5)


def test_samples_are_of_the_prior():
    """With all its weight on one code, every sample is that code's image."""
    model = make_model()
    with torch.no_grad():
        model.prior_logits[range(4), [0, 2, 1, 2]] = 50.0
    expected = model.decode_codes(torch.tensor([[0, 2, 1, 2]]))
    samples = model.sample(6)
    assert samples.shape == (6, *SHAPE)
    torch.testing.assert_close(samples, expected.expand(6, *SHAPE))


def test_pictures_are_rows_of_images_in_0_to_1():
    with torch.no_grad():
        pictures = make_model().pictures(make_batch(12))
    assert {name: tuple(rows.shape) for name, rows in pictures.items()} == {
        "reconstructions": (2, 12, *SHAPE),
        "samples": (8, 10, *SHAPE),
        "classes": (8, 3, *SHAPE),
    }
    assert all(0 <= rows.min() <= rows.max() <= 1 for rows in pictures.values())


def test_pictures_of_fewer_images_have_fewer_rows():
    with torch.no_grad():
        assert make_model().pictures(make_batch(2))["classes"].shape == (2, 3, *SHAPE)


def test_reconstructions_are_below_their_images():
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        model.encoder[-1].weight *= 1e6
        rows = model.pictures(batch)["reconstructions"]
        assert torch.equal(rows[0], batch[0])
        torch.testing.assert_close(rows[1], model.decode_codes(model.encode(batch[0]).argmax(-1)))


@pytest.mark.parametrize("latent", range(4))
def test_classes_vary_the_latent_that_says_most_and_keep_the_others(latent):
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        for parameter in model.encoder[-1].parameters():
            parameter *= 0.1
        # The units are laid out class by class: unit k·N + n is class k of latent n.
        model.encoder[-1].bias[4 + latent] = 20.0
        *_, units = inputs_of(model.decoder, lambda: model.pictures(batch))
    codes = units.unflatten(-1, (3, 4)).argmax(-2)
    assert codes.shape == (5, 3, 4)
    assert torch.equal(codes[..., latent], torch.arange(3).expand(5, 3))
    others = [other for other in range(4) if other != latent]
    assert torch.equal(codes[..., others], codes[:, :1, others].expand(5, 3, 3))


def test_an_unknown_prior_is_named():
    with pytest.raises(ValueError, match=r"^prior must be learned or uniform, got 'normal'$"):
        make_model(prior="normal")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_latents": 0}, "num_latents must be a whole number of at least 1, got 0"),
        ({"num_classes": 1}, "num_classes must be a whole number of at least 2, got 1"),
        ({"eval_samples": 0}, "samples must be a whole number of at least 1, got 0"),
        ({"eval_chunk": 0}, "chunk must be a whole number of at least 1, got 0"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)


def test_an_estimator_sees_the_prior():
    """The relaxed bound of a learned prior moves with it."""
    model, batch = make_model(estimator=GumbelSoftmax(kl="relaxed")), make_batch()
    run = partial(model, batch)
    torch.manual_seed(1)
    before = run()
    torch.nn.init.normal_(model.prior_logits)
    torch.manual_seed(1)
    assert not torch.allclose(run(), before)
