"""One batched program computes what each model computes by itself, under every estimator that can be stacked."""

import copy

import pytest
import torch
from torch import Tensor

from discrete_latents.config.compose import composed
from discrete_latents.latent import noise
from discrete_latents.latent.tape import draws, given, listed_draws
from discrete_latents.models import LatentModel
from discrete_latents.networks import onednn_linear
from discrete_latents.stacked.member import not_stacked
from discrete_latents.stacked.program import Program, part
from discrete_latents.stacked.stack import calls_of
from discrete_latents.training.build import build_data, build_model
from tests.helpers.problems import LATENTS, traits
from tests.helpers.tables import rest_is_slow

EXPERIMENTS = ["vae_digits", "sbn_digits", "ssl_digits"]
PAIRS = [
    (experiment, latent)
    for experiment in EXPERIMENTS
    for latent in ("gumbel_softmax", "nvil", *(name for name in LATENTS if name not in ("gumbel_softmax", "nvil")))
    if not (experiment == "ssl_digits" and traits(latent).bernoulli)
]


def problem(experiment: str, latent: str, *words: str):
    """Two models of different weights in training mode, a batch of each, and what is drawn in a step."""
    settings = [f"experiment={experiment}", f"latent={latent}", "paths.output_dir=.", *words]
    if experiment != "sbn_digits":  # whose network is linear
        settings.append("model.network.hidden=[8]")
    if experiment != "ssl_digits":
        settings += ["model.num_latents=3", f"model.num_classes={2 if traits(latent).bernoulli else 4}"]
    config = composed(settings)
    data = build_data(config)
    models, batches = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = build_model(config, data)
        assert isinstance(model, LatentModel)
        models.append(model.train())
        batches.append(next(iter(data.batches("train", 20, shuffled=True))))
    return models, batches, calls_of(models[0], batches[0])


def close(first: Tensor, second: Tensor, scale: Tensor) -> bool:
    return bool((first - second).abs().max() <= 2e-5 * scale)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(("experiment", "latent"), rest_is_slow(PAIRS, keep=2))
def test_it_is_each_models_loss_gradient_and_state_or_the_estimator_says_why_not(experiment: str, latent: str):
    models, batches, calls = problem(experiment, latent)
    alone = copy.deepcopy(models)
    if traits(latent).differentiates:
        assert "differentiates within a step" in str(
            not_stacked(models[0], build_data(composed(["paths.output_dir=."])))
        )
        return
    program = Program(models)
    for step in range(2):
        noises = []
        for number in range(2):
            torch.manual_seed(10 * number + step)
            noises.append(draws(calls))
        answers = program(batches, calls, noises)
        for number, (model, batch, answer) in enumerate(zip(alone, batches, answers, strict=True)):
            torch.manual_seed(10 * number + step)
            model.zero_grad()
            loss, bound = model.training_loss(batch)
            loss.backward()
            assert close(answer.loss, loss, loss.abs())
            assert close(answer.bound, bound, bound.abs())
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            own = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in trained]
            scale = torch.stack([gradient.abs().max() for gradient in own]).max()
            for gradient, other in zip(own, answer.gradients, strict=True):
                assert close(gradient, torch.zeros_like(gradient) if other is None else other, scale)
            for buffer, other in zip(model.buffers(), models[number].buffers(), strict=True):
                torch.testing.assert_close(buffer, other, rtol=1e-4, atol=1e-6)


def test_what_an_optimiser_changes_is_what_the_next_step_uses_until_a_model_leaves():
    models, batches, calls = problem("vae_digits", "gumbel_softmax")
    noises = [draws(calls) for _ in models]
    program = Program(models)
    first = program(batches, calls, noises)
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.mul_(2)
    second = program(batches, calls, noises)
    assert torch.equal(first[0].loss, second[0].loss)
    assert not torch.equal(first[1].loss, second[1].loss)
    part(models[1])
    for parameter in models[1].parameters():
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


def test_the_fastest_product_of_a_processor_is_left_to_single_runs(monkeypatch: pytest.MonkeyPatch):
    models, batches, calls = problem("vae_digits", "gumbel_softmax")
    expected = Program(copy.deepcopy(models))(batches, calls, noises := [draws(calls) for _ in models])
    monkeypatch.setattr(onednn_linear, "FASTER", True)
    assert torch.equal(Program(models)(batches, calls, noises)[0].loss, expected[0].loss)


def test_noise_is_given_in_the_order_in_which_it_was_listed_and_nothing_else_is():
    shapes = [(2, 3), (4,)]

    def step() -> list[Tensor]:
        return [
            noise.uniform(shapes[0], torch.device("cpu")),
            noise.gumbel(shapes[1], torch.float32, torch.device("cpu")),
        ]

    with listed_draws() as calls:
        step()
    torch.manual_seed(3)
    made = draws(calls)
    torch.manual_seed(3)
    assert all(map(torch.equal, made, step()))
    with given(calls, made):
        assert all(map(torch.equal, made, step()))
    with pytest.raises(RuntimeError, match="not the same"), given(calls, made):
        noise.uniform((5,), torch.device("cpu"))
    with pytest.raises(RuntimeError, match="not the same"), given(calls, made):
        noise.uniform(shapes[0], torch.device("cpu"))


def test_listing_what_a_step_draws_changes_neither_model_nor_noise():
    models, batches, _ = problem("vae_digits", "nvil")
    state, generator = copy.deepcopy(models[0].state_dict()), torch.get_rng_state()
    calls_of(models[0], batches[0])
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(state[name], value) for name, value in models[0].state_dict().items())
