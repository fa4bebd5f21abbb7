"""M2: the bounds against hand enumeration, and which labels are looked at."""

import math

import lightning.pytorch as pl
import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal, kl_divergence

from discrete_latents.latent import Exact, GumbelSoftmax, Sparsemax, STGumbel, TopKSparsemax
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import SemiSupervised
from discrete_latents.networks import CNN, MLP
from discrete_latents.optimization import Optimization
from tests.helpers.fitting import quiet_trainer

K, D, SHAPE = 4, 3, (1, 4, 4)


def make_model(**settings) -> SemiSupervised:
    settings = {"network": MLP([16]), "estimator": Exact(), "labelled_batch_size": 4} | settings
    model = SemiSupervised(
        image_shape=SHAPE,
        num_classes=K,
        num_styles=D,
        likelihood=Bernoulli(),
        optimization=Optimization(torch.optim.Adam),
        **settings,
    )
    model.set_base_rate(torch.full(SHAPE, 0.3))
    return model


@pytest.fixture
def batch():
    return torch.rand(10, *SHAPE).round(), torch.tensor([0, 1, 2, 3] + [-1] * 6)


def by_hand(model: SemiSupervised, x: torch.Tensor, y: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """log p(x | y, z) − KL(q(z | x, y) ‖ N(0, I)) of one-hot y, (B, K), with the noise of z given."""
    features = model.features(x - model.mean_image)
    mean, log_scale = model.infer_style(features, y)
    kl = kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 1.0)).sum(-1)
    output = model.decode(y, mean + log_scale.exp() * noise)
    return TorchBernoulli(logits=output).log_prob(x).flatten(1).sum(-1) - kl


def test_the_unlabelled_bound_under_exact_is_the_sum_over_classes(batch):
    model, (x, _) = make_model(), batch
    torch.manual_seed(5)
    bound = model(batch)
    torch.manual_seed(5)
    noise = torch.randn(K, len(x), D)
    log_q = model.classify(x).log_softmax(-1)
    expected = torch.zeros(len(x))
    for k in range(K):
        y = torch.eye(K)[k].expand(len(x), -1)
        expected += log_q[:, k].exp() * (by_hand(model, x, y, noise[k]) - math.log(K) - log_q[:, k])
    torch.testing.assert_close(bound, expected)


def test_the_labelled_bound_observes_the_class(batch):
    model, (x, labels) = make_model(), batch
    x, labels = x[:4], labels[:4]
    torch.manual_seed(5)
    bound = model.labelled_bound(x, model.features(x - model.mean_image), labels)
    torch.manual_seed(5)
    noise = torch.randn(4, D)
    torch.testing.assert_close(bound, by_hand(model, x, torch.eye(K)[labels], noise) - math.log(K))


@pytest.mark.parametrize("estimator", [GumbelSoftmax(0.02), STGumbel(1.0)])
def test_sampled_bounds_agree_with_the_exact_one(estimator, batch):
    """ST-Gumbel at any temperature, Gumbel-Softmax as τ → 0."""
    model, (x, labels) = make_model(), batch
    many = x[:1].expand(20_000, -1, -1, -1), labels[:1].expand(20_000)
    exact = model(many)
    model.estimator = estimator
    sampled = model(many)
    error = (exact.var() + sampled.var()).sqrt() / 20_000**0.5
    assert abs(exact.mean() - sampled.mean()) < 4 * error


@pytest.mark.parametrize("estimator", [Sparsemax(), TopKSparsemax(3)], ids=str)
def test_a_sparse_class_is_told_and_trained_as_it_is(estimator, batch):
    """The loss of the labels has the gradient p − e, and is 0 for a class that is certain by 1 or more."""
    model, (x, labels) = make_model(estimator=estimator, alpha=1.0), batch
    scores = torch.tensor([[0.0, 0.2, 0.5, -2.0], [3.0, 2.1, 0.0, 0.0], [0.0, 3.0, 2.0, 2.0]], requires_grad=True)
    labels = torch.tensor([3, 0, 1])
    p = model.estimator.marginals(scores.unsqueeze(-2)).squeeze(-2).exp()
    assert (p == 0).any(1).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(3))
    loss = model.estimator.classification_loss(scores, labels)
    (gradient,) = torch.autograd.grad(3 * loss, scores)
    torch.testing.assert_close(gradient, p.detach() - torch.eye(K)[labels])
    assert model.estimator.classification_loss(scores[2:], labels[2:]) == 0
    half = model.estimator.classification_loss(scores.detach().half(), labels)
    torch.testing.assert_close(half, loss.detach(), atol=1e-2, rtol=0)
    with torch.no_grad():
        model.classifier[-1][-1].weight *= 30
    torch.testing.assert_close(model.classify(x).exp().sum(-1), torch.ones(10))
    assert (model.classify(x).exp() == 0).any()
    assert model.training_loss(batch)[0].isfinite()


def test_only_the_labels_of_the_labelled_images_are_looked_at(batch):
    model, (x, labels) = make_model(), batch

    def loss(labels):
        torch.manual_seed(3)
        return model.training_loss((x, labels))[0]

    others, first = labels.clone(), labels.clone()
    others[4:] = 2
    first[0] = 3
    assert loss(others) == loss(labels)
    assert loss(first) != loss(labels)


def test_the_loss_is_the_sum_of_its_three_parts(batch):
    x, labels = batch
    torch.manual_seed(0)
    model = make_model(alpha=0.0)

    def loss(alpha):
        model.alpha = alpha
        torch.manual_seed(3)
        return model.training_loss(batch)

    (without, bound), (with_alpha, _) = loss(0.0), loss(2.0)
    classification = torch.nn.functional.cross_entropy(model.classify(x[:4]), labels[:4])
    torch.testing.assert_close(with_alpha - without, 2 * classification)
    torch.manual_seed(3)
    labelled = model.labelled_bound(x[:4], model.features(x[:4] - model.mean_image), labels[:4]).mean()
    torch.testing.assert_close(without, -labelled - bound)


@pytest.mark.parametrize("network", [MLP, CNN])
@pytest.mark.parametrize("estimator", [Exact(), GumbelSoftmax(1.0), STGumbel(1.0)])
def test_every_network_is_trained(network, estimator, batch):
    model = make_model(network=network([8]), estimator=estimator)
    model.training_loss(batch)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_images_are_encoded_once_however_many_classes_are_enumerated(batch):
    model = make_model()
    calls = []
    model.features.register_forward_hook(lambda *_: calls.append(1))
    model.classifier.register_forward_hook(lambda *_: calls.append(1))
    model(batch)
    assert len(calls) == 2


def test_a_batch_without_unlabelled_images_is_refused_in_words(batch):
    x, labels = batch
    with pytest.raises(ValueError, match=r"a training batch of 4 images has none beside the 4 labelled ones; set data"):
        make_model().training_loss((x[:4], labels[:4]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -1.0}, "alpha must be at least 0, got -1.0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, got -1"),
        ({"num_latents": 2}, "num_latents must be 1, the class, got 2"),
        ({"labelled_batch_size": 0}, "labelled_batch_size must be a whole number of at least 1, got 0"),
    ],
)
def test_what_is_not_a_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings)


def test_the_bounds_join_after_the_warmup(batch):
    model = make_model(alpha=3.0, warmup=2)
    x, labels = batch
    rest = []

    class Record(pl.Callback):
        def on_train_batch_start(self, *_):
            with torch.no_grad():
                rest.append(torch.nn.functional.cross_entropy(model.classify(x[:4]), labels[:4]).item())

        def on_train_batch_end(self, trainer, pl_module, outputs, *_):
            rest[-1] = outputs["loss"].item() - 3 * rest[-1]

    trainer = quiet_trainer(
        max_epochs=1,
        callbacks=[Record()],
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    loader = torch.utils.data.DataLoader([batch] * 3, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
    trainer.fit(model, loader, loader)
    assert rest[:2] == pytest.approx([0, 0], abs=1e-4)
    assert rest[2] > 1


def test_a_classifier_of_its_own_drops_pixels_in_training_only(batch):
    model = make_model(classifier=CNN([4]), dropout=0.5)
    assert any(isinstance(module, torch.nn.Conv2d) for module in model.classifier.modules())
    assert not any(isinstance(module, torch.nn.Conv2d) for module in model.features.modules())
    assert not torch.equal(model.classify(batch[0]), model.classify(batch[0]))
    model.eval()
    assert torch.equal(model.classify(batch[0]), model.classify(batch[0]))
