"""What all models share: training through an estimator, evaluation with hard samples, checkpoints and resume."""

import math
from functools import partial
from itertools import product

import lightning.pytorch as pl
import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from discrete_latents.callbacks import LearningRate, TemperatureSchedule
from discrete_latents.config.compose import composed
from discrete_latents.data import ImageData, Images, Splits, digits
from discrete_latents.errors import UserError
from discrete_latents.latent import (
    Concrete,
    Exact,
    Exponential,
    GumbelSoftmax,
    HardSampler,
    Sparsemax,
    STGumbel,
    TopKSparsemax,
)
from discrete_latents.lightning_internals import use_exact_loops, use_fast_epoch_loop
from discrete_latents.likelihoods import Bernoulli
from discrete_latents.models import CategoricalVAE, LatentModel
from discrete_latents.networks import MLP
from discrete_latents.optimization import LinearRate, Optimization
from discrete_latents.training.build import make_model
from tests.helpers.fitting import quiet_trainer

N, K = 3, 4
ESTIMATORS = {
    "gumbel_softmax": GumbelSoftmax,
    "concrete": Concrete,
    "st_gumbel": STGumbel,
    "exact": Exact,
}
RELAXED = {"gumbel_softmax", "concrete"}


@pytest.fixture(scope="module")
def splits():
    return digits()


def make(splits, estimator=None, seed=0, binarization="fixed", lr=3e-3, **settings):
    """A small model and its data: 1,297 images in 7 batches, 250 of validation and test in 100, 100 and 50."""
    torch.manual_seed(seed)
    data = ImageData("digits", lambda: splits, binarization, batch_size=200, eval_batch_size=100, seed=seed)
    data.setup()
    model = CategoricalVAE(
        data.image_shape,
        num_latents=N,
        num_classes=K,
        network=MLP([10]),
        estimator=estimator or GumbelSoftmax(Exponential(rate=0.05)),
        likelihood=Bernoulli(),
        optimization=Optimization(partial(torch.optim.Adam, fused=True), lr=lr, schedule=LinearRate(0.5)),
        **{"eval_samples": 5} | settings,
    )
    model.set_base_rate(data.mean_image)
    return model, data


def make_trainer(max_epochs=1, callbacks=(), **settings):
    return quiet_trainer(
        max_epochs=max_epochs,
        callbacks=[LearningRate(), TemperatureSchedule(), *callbacks],
        **{"num_sanity_val_steps": 0, "log_every_n_steps": 1} | settings,
    )


def fit(model, data, resume=None, fast=True, **settings):
    trainer = make_trainer(**settings)
    use_exact_loops(trainer)
    if fast:
        use_fast_epoch_loop(trainer)
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return trainer


def evaluate(model, data, split="test"):
    trainer = make_trainer()
    run = trainer.test if split == "test" else trainer.validate
    return run(model, data, verbose=False)[0]


def make_certain(model):
    """Makes q(z | x) put all its weight on one code, so that no noise is left in an evaluation."""
    with torch.no_grad():
        model.encoder[-1].weight *= 1e9


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


# Evaluation


@pytest.mark.parametrize("estimator", [Sparsemax(), TopKSparsemax(6)], ids=str)
def test_a_sparse_posterior_is_evaluated_as_it_is_trained(splits, estimator):
    model, data = make(splits, estimator=estimator)
    torch.nn.init.normal_(model.encoder[-1].weight, std=0.3)
    images, labels = next(iter(data.test_dataloader()))
    many = images[:1].expand(5000, -1, -1, -1), labels[:1].expand(5000)
    with torch.no_grad():
        trained = model((images[:1], labels[:1]))
        sampler = model.hard_sampler()
        sampled = model.objective(many)(sampler) - sampler.kl
        bounds = model.evaluator(model.objective(many))
    assert abs(sampled.mean() - trained) < 4 * sampled.std() / 5000**0.5
    assert bounds.mean() > trained
    assert len(sampler.codes[0].unique(dim=0)) < K**N
    codes = model.estimator.marginals(model.encode(images[:1])).softmax(-1)
    shares = F.one_hot(sampler.codes[0], K).float().mean(0)
    assert (shares - codes[0]).abs().max() < 0.03
    assert model.pictures((images, labels))["reconstructions"].isfinite().all()


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_means_over_images_by_hand(splits, split):
    """Not over batches, of which the last is smaller."""
    model, data = make(splits)
    make_certain(model)
    torch.nn.init.normal_(model.prior_logits)
    batches = [images for images, _ in data.batches(split, 100)]
    by_batch = []
    with torch.no_grad():
        for x in batches:
            logits = model.encode(x)
            z = F.one_hot(logits.argmax(-1), K).float()
            reconstruction = -TorchBernoulli(logits=model.decode(z)).log_prob(x).sum((1, 2, 3))
            kl = kl_divergence(Categorical(logits=logits), Categorical(logits=model.prior_logits)).sum(-1)
            by_batch.append(torch.stack([reconstruction, kl], -1))
    reconstruction, kl = torch.cat(by_batch).mean(0).tolist()
    over_batches = torch.stack([values.mean(0) for values in by_batch]).mean(0)[0].item()
    assert abs(over_batches - reconstruction) > 1e-3

    metrics = evaluate(model, data, split)
    expected = {"reconstruction": reconstruction, "kl": kl, "nelbo": reconstruction + kl}
    expected |= {"relaxed_nelbo": reconstruction + kl}  # the soft samples are as certain
    expected |= {"nll": reconstruction + kl} if split == "test" else {}
    usage = {"code_usage", "perplexity"}
    assert {name.removeprefix(f"{split}/") for name in metrics} == expected.keys() | usage
    assert {name: metrics[f"{split}/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_code_usage_is_of_the_drawn_classes(splits):
    model, data = make(splits)
    make_certain(model)
    codes = torch.cat([model.encode(images).argmax(-1) for images, _ in data.test_dataloader()])
    counts = torch.stack([torch.bincount(latent, minlength=K) for latent in codes.T])
    perplexity = Categorical(counts / counts.sum(-1, keepdim=True)).entropy().exp().mean().item()
    metrics = evaluate(model, data)
    assert metrics["test/code_usage"] == pytest.approx((counts > 0).float().mean().item())
    assert metrics["test/perplexity"] == pytest.approx(perplexity, rel=1e-5)


def test_every_evaluation_counts_its_own_codes(splits):
    model, data = make(splits)
    make_certain(model)
    with torch.no_grad():
        model.encoder[-1].weight.zero_()
        for used in (0, 1):
            model.encoder[-1].bias.fill_(0).unflatten(0, (K, N))[used] = 1e3
            assert evaluate(model, data)["test/code_usage"] == 1 / K


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_uses_hard_samples_whatever_the_estimator(splits, split):
    """Soft ones only for relaxed_nelbo, once a batch; with 5 samples of the nll for testing."""
    model, data = make(splits)
    hard = []

    def look(_, inputs):
        units = inputs[0].unflatten(-1, (K, N))
        hard.append(bool(((units == 0) | (units == 1)).all() and (units.sum(-2) == 1).all()))

    model.decoder.register_forward_pre_hook(look)
    evaluate(model, data, split)
    assert len(hard) - sum(hard) == 3
    assert sum(hard) == (6 if split == "test" else 3)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("split", ["val", "test"])
def test_every_estimator_has_its_metrics(splits, name, split):
    metrics = evaluate(*make(splits, ESTIMATORS[name]()), split)
    expected = {"nelbo", "reconstruction", "kl", "code_usage", "perplexity"}
    expected |= {"relaxed_nelbo"} if name in RELAXED else set()
    expected |= {"nll"} if split == "test" else set()
    assert {f"{split}/{metric}" for metric in expected} == metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values())
    parts = metrics[f"{split}/reconstruction"] + metrics[f"{split}/kl"]
    assert metrics[f"{split}/nelbo"] == pytest.approx(parts, rel=1e-5)


def test_hard_metrics_are_the_same_under_every_estimator(splits):
    """What a model is worth does not depend on how it was trained."""
    model, data = make(splits)
    fit(model, data)
    results = []
    for make_estimator in ESTIMATORS.values():
        model.estimator = make_estimator()
        metrics = evaluate(model, data, "val")
        results.append([metrics[f"val/{name}"] for name in ("nelbo", "kl")])
    kl = {kl for _, kl in results}
    assert len(kl) == 1
    # The noise of relaxed_nelbo's samples moves that of the next batch's hard ones.
    assert [nelbo for nelbo, _ in results] == pytest.approx([results[0][0]] * len(results), rel=0.01)


def test_the_nll_of_many_samples_is_the_log_likelihood_from_above(splits):
    """log p(x) by enumeration of all codes."""
    model, data = make(splits, eval_samples=300, eval_chunk=70)
    with torch.no_grad():
        model.decoder[0].weight *= 4
        model.decoder[2].weight *= 2
        model.encoder[-1].weight *= 3
    torch.nn.init.normal_(model.prior_logits)
    codes = torch.tensor(list(product(range(K), repeat=N)))
    prior = model.prior_logits.log_softmax(-1)
    log_prior = prior[torch.arange(N), codes].sum(-1)
    with torch.no_grad():
        outputs = model.decode(F.one_hot(codes, K).float())
        log_likelihood = [
            torch.logsumexp(log_prior + TorchBernoulli(logits=outputs).log_prob(image).sum((1, 2, 3)), 0)
            for images, _ in data.test_dataloader()
            for image in images
        ]
    exact = -torch.stack(log_likelihood).mean().item()
    metrics = evaluate(model, data)
    assert metrics["test/nelbo"] > exact + 1
    assert metrics["test/nll"] == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluating_twice_gives_the_very_same_numbers_and_leaves_trainings_noise(splits, split):
    model, data = make(splits)
    torch.manual_seed(5)
    noise = torch.get_rng_state()
    first = evaluate(model, data, split)
    assert torch.equal(torch.get_rng_state(), noise)
    torch.manual_seed(6)
    assert evaluate(model, data, split) == first


def test_testing_the_validation_images_gives_the_numbers_of_validation(splits):
    model, data = make(splits)
    expected = evaluate(model, data, "val")
    data.test_split = "val"
    tested = evaluate(model, data, "test")
    assert tested.pop("test/nll") > 0
    assert {name.replace("test/", "val/"): value for name, value in tested.items()} == expected


def test_the_number_of_samples_of_the_nll_changes_no_other_metric(splits):
    one, many = (evaluate(*make(splits, eval_samples=samples)) for samples in (1, 30))
    assert one.pop("test/nll") != many.pop("test/nll")
    assert one == many


@pytest.mark.parametrize(
    "settings",
    [{"limit_val_batches": 0}, {"num_sanity_val_steps": 2}, {"val_check_interval": 2}],
    ids=["no validation", "sanity check", "more validation"],
)
def test_validation_does_not_touch_training(splits, settings):
    plain, disturbed = make(splits, binarization="dynamic"), make(splits, binarization="dynamic")
    for pair, extra in ((plain, {}), (disturbed, settings)):
        torch.manual_seed(3)
        fit(*pair, max_epochs=2, **extra)
    assert_same(state(plain[0]), state(disturbed[0]))


# Training


def test_the_same_seed_gives_the_same_weights_bit_for_bit(splits):
    states = []
    for seed in (4, 4, 5):
        model, data = make(splits, seed=seed, binarization="dynamic")
        fit(model, data, max_epochs=2)
        states.append(state(model))
    assert_same(states[0], states[1])
    assert not torch.equal(states[0]["decoder.0.weight"], states[2]["decoder.0.weight"])


def four_patterns():
    """Images that are one of four random patterns: easy to tell apart."""
    patterns = torch.randint(0, 2, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)) * 255
    labels = torch.arange(400) % 4
    images = Images(patterns[labels], labels)
    return Splits(images, images, images)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_learns_more_than_the_base_rate(name):
    """The patterns alone cost log 4 = 1.4 nats, the base rate 34."""
    model, data = make(four_patterns(), ESTIMATORS[name](), lr=0.02)
    data.batch_size = 20
    base_rate = -TorchBernoulli(data.mean_image).log_prob(data.pixels["val"] / 255).sum((1, 2, 3)).mean()
    fit(model, data, max_epochs=4, limit_val_batches=0)
    assert evaluate(model, data, "val")["val/nelbo"] < base_rate - 5


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_model_that_was_evaluated_can_be_trained(splits, split):
    model, data = make(splits)
    evaluate(model, data, split)
    assert fit(model, data).global_step == 7


@pytest.mark.parametrize(("prior", "moves"), [("learned", True), ("uniform", False)])
def test_training_moves_a_learned_prior_alone(splits, prior, moves):
    model, data = make(splits, prior=prior)
    fit(model, data)
    assert bool(model.prior_logits.any()) == moves


class Losses(pl.Callback):
    """Keeps the loss of every training step, and what was logged by then."""

    def __init__(self):
        self.losses, self.logged = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        self.logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_training_metric_says_whether_it_is_relaxed(splits, name):
    model, data = make(splits, ESTIMATORS[name]())
    trainer = fit(model, data, limit_train_batches=2, limit_val_batches=0)
    names = {name for name in trainer.callback_metrics if name.startswith("train/")}
    assert names == {"train/relaxed_nelbo" if name in RELAXED else "train/nelbo"}


def test_the_training_metric_is_the_mean_since_it_was_last_logged(splits):
    """Also over the end of an epoch, here after 7 steps."""
    model, data = make(splits, STGumbel())
    record = Losses()
    fit(model, data, max_epochs=2, callbacks=[record], log_every_n_steps=4, limit_val_batches=0)
    losses = torch.tensor(record.losses)
    assert len(losses) == 14
    assert ["train/nelbo" in logged for logged in record.logged[:4]] == [False, False, False, True]
    for last in (4, 8, 12):
        expected = losses[last - 4 : last].mean().item()
        assert record.logged[last - 1]["train/nelbo"] == pytest.approx(expected, rel=1e-6)


class Rates(pl.Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("length", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 14}], ids=str)
def test_the_learning_rate_follows_the_steps_of_the_whole_training(splits, length):
    record = Rates()
    fit(*make(splits), callbacks=[record], **length)
    factors = [min(1, 2 * (1 - step / 14)) for step in range(14)]
    assert record.rates == pytest.approx([3e-3 * factor for factor in factors])


@pytest.mark.parametrize("length", [{"max_epochs": 0}, {"max_epochs": -1, "max_steps": 0}], ids=str)
def test_training_of_no_steps_changes_nothing(splits, length):
    model, data = make(splits)
    before = state(model)
    assert fit(model, data, **length).global_step == 0
    assert_same(state(model), before)


# Checkpoints


def test_a_checkpoint_is_plain_data_without_hyper_parameters(splits, tmp_path):
    model, data = make(splits)
    fit(model, data).save_checkpoint(tmp_path / "x.ckpt")
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert not [key for key in checkpoint if "hyper" in key]
    assert_same(checkpoint["state_dict"], state(model))
    assert checkpoint["global_step"] == 7


def test_a_checkpoint_has_all_that_evaluation_needs(splits, tmp_path):
    """The weights, the prior, the base rate and the temperature of relaxed_nelbo."""
    model, data = make(splits, estimator=GumbelSoftmax(Exponential(rate=0.05)))
    fit(model, data).save_checkpoint(tmp_path / "x.ckpt")
    other, data = make(splits, estimator=GumbelSoftmax(Exponential(rate=0.05)), seed=9)
    tested = make_trainer().test(other, data, ckpt_path=tmp_path / "x.ckpt", weights_only=True, verbose=False)[0]
    assert tested == evaluate(model, data)


def test_a_resumed_run_takes_the_learning_rate_and_the_length_of_its_own_settings(splits, tmp_path):
    fit(*make(splits), max_epochs=2, callbacks=[SaveAt(tmp_path / "x.ckpt", "on_train_batch_end", 9)])
    record = Rates()
    fit(*make(splits, lr=0.01), max_epochs=3, callbacks=[record], resume=tmp_path / "x.ckpt")
    expected = [0.01 * min(1, 2 * (1 - step / 21)) for step in range(9, 21)]
    assert record.rates == pytest.approx(expected)


class SaveAt(pl.Callback):
    """Saves a checkpoint in a hook, when a number of steps is done."""

    def __init__(self, path, hook, step):
        self.path = path
        setattr(self, hook, lambda trainer, *_: trainer.global_step == step and trainer.save_checkpoint(self.path))


EPOCHS, STEPS = {"max_epochs": 3}, {"max_epochs": -1, "max_steps": 21}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("hook", "step", "length"),
    [
        # After an epoch of 7 steps, where ModelCheckpoint saves by default, and in the validation at its end.
        ("on_train_epoch_end", 7, EPOCHS),
        ("on_train_epoch_end", 14, EPOCHS),
        ("on_validation_end", 7, EPOCHS),
        ("on_validation_end", 14, EPOCHS),
        ("on_validation_end", 14, EPOCHS | {"check_val_every_n_epoch": 2}),
        ("on_validation_end", 7, STEPS),
        ("on_validation_end", 4, {"max_epochs": 3, "limit_train_batches": 4}),
        ("on_train_epoch_end", 7, STEPS),
        ("on_validation_end", 4, {"max_epochs": -1, "max_steps": 12, "limit_train_batches": 4}),
        # In the middle of an epoch, by every_n_train_steps or val_check_interval.
        ("on_train_batch_end", 3, EPOCHS),
        ("on_train_batch_end", 9, EPOCHS),
        ("on_validation_end", 3, EPOCHS | {"val_check_interval": 3}),
        ("on_train_batch_end", 7, EPOCHS),
        ("on_train_batch_end", 3, STEPS),
        ("on_train_batch_end", 9, STEPS),
    ],
    ids=str,
)
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(splits, tmp_path, hook, step, length, fast):
    """Images drawn anew, a falling learning rate, a falling temperature: all that has a memory."""
    length = length | {"fast": fast}
    path = tmp_path / "x.ckpt"
    whole, data = make(splits, binarization="dynamic")
    fit(whole, data, callbacks=[SaveAt(path, hook, step)], **length)
    resumed, data = make(splits, binarization="dynamic", seed=0)
    torch.manual_seed(77)
    trainer = fit(resumed, data, resume=path, **length)
    assert trainer.global_step == length.get("max_steps", 3 * length.get("limit_train_batches", 7))
    assert_same(state(resumed), state(whole))


@pytest.mark.parametrize("model", ["categorical_vae", "structured_prediction", "semi_supervised", "image_tokenizer"])
def test_no_class_is_less_likely_than_its_part_of_the_uniform_distribution(model):
    """In whatever draws from q, training and evaluation alike."""
    words = [f"model={model}", "model.uniform_mix=0.3", "model.num_classes=4"]
    config = composed(words)
    built = make_model(config, (1, 8, 8))
    assert isinstance(built, LatentModel)
    with torch.no_grad():
        for weight in built.parameters():
            weight.mul_(50)
    x = torch.rand(20, 1, 8, 8)
    sampler = HardSampler()
    built.objective((x, torch.zeros(20, dtype=torch.int64)))(sampler)
    for logits, _ in sampler.calls:
        assert logits.softmax(-1).min() > 0.3 / 4 - 1e-4
        torch.testing.assert_close(logits.exp().sum(-1), torch.ones(logits.shape[:-1]))


def test_a_share_of_the_uniform_distribution_is_below_1():
    with pytest.raises(UserError, match="uniform_mix must be at least 0 and below 1"):
        make_model(composed(["model.uniform_mix=1.0"]), (1, 8, 8))
