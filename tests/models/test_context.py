"""Baselines that read the objective's context, and learn at a rate of their own."""

from unittest.mock import Mock

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from discrete_latents.callbacks import LearningRate
from discrete_latents.config.compose import composed
from discrete_latents.data import ImageData
from discrete_latents.errors import UserError
from discrete_latents.latent import InputNetwork, KLSchedule, KLWeight, LinearKL, MovingAverage, Reinforce, WithContext
from discrete_latents.models import LatentModel
from discrete_latents.training.build import build_data, build_model

SMALL = ["model.num_latents=3", "model.num_classes=4", "paths.output_dir=."]
NVIL = ["latent=nvil", "latent.baselines.network.hidden=5"]


def built(*overrides: str) -> tuple[LatentModel, tuple[Tensor, Tensor]]:
    config = composed([*overrides, "paths.output_dir=."])
    data = build_data(config)
    model = build_model(config, data)
    assert isinstance(data, ImageData)
    assert isinstance(model, LatentModel)
    return model, data.example()


def baselines_of(model: LatentModel) -> list[InputNetwork]:
    return [part for part in model.estimator.modules() if isinstance(part, InputNetwork)]


@pytest.mark.parametrize(
    ("settings", "widths"),
    [
        (["experiment=vae_digits", "latent.reads=logits"], [12]),
        (["experiment=vae_digits", "latent.reads=input"], [64]),
        (["experiment=vae_digits", "latent.reads=input", "beta=linear"], [64]),
        (["experiment=sbn_digits", "latent.reads=logits"], [12, 12]),
        (["experiment=sbn_digits", "latent.reads=input"], [32, 32]),
        (["experiment=sbn_digits", "latent.reads=input_and_output"], [64, 64]),
        (["experiment=sbn_digits", "latent.reads=input", "latent.samples=3"], [32, 32]),
    ],
)
def test_baselines_read_what_the_model_offers(settings, widths):
    """Each layer's, and they are trained: every weight of theirs has a gradient."""
    model, batch = built(*settings[:1], *NVIL, *SMALL, *settings[1:])
    assert [baseline.hidden.in_features for baseline in baselines_of(model)] == widths
    model.training_loss(batch)[0].backward()
    assert all((own.grad != 0).any() for baseline in baselines_of(model) for own in baseline.parameters())


@pytest.mark.parametrize("latent", ["reinforce", "nvil", "muprop"])
def test_what_an_objective_does_not_offer_is_refused(latent):
    """Of an image that is all predicted, nothing is an output apart from the input."""
    with pytest.raises(UserError, match="reads = input_and_output needs an objective that offers output, got input"):
        built("experiment=vae_digits", f"latent={latent}", "latent.reads=input_and_output", *SMALL)


def test_an_objective_without_a_context_is_refused():
    estimator = Reinforce({"average": MovingAverage}, reads="input")
    with pytest.raises(ValueError, match="needs an objective that offers input, got no context"):
        estimator(lambda sample: sample(torch.zeros(2, 3, 4)).sum((-1, -2)))
    with pytest.raises(ValueError, match="reads must be one of logits, input, input_and_output, got 'image'"):
        Reinforce(reads="image")


@pytest.mark.parametrize("beta", [KLSchedule(1.0), LinearKL(0.0)])
def test_a_weighted_objective_offers_the_same_context(beta):
    objective = WithContext(
        lambda sample: sample(torch.zeros(2, 3, 4)).sum((-1, -2)), {"input": lambda: torch.ones(2, 5)}
    )
    weighted = KLWeight(beta)(objective, Reinforce())
    assert isinstance(weighted, WithContext)
    assert weighted.context is objective.context


def test_a_baseline_that_reads_the_image_learns_what_the_logits_do_not_say():
    """The signal of this objective is a function of the image alone, and the logits are the same for all images."""
    torch.manual_seed(0)
    x = torch.tensor([[-1.0], [1.0]])

    def objective(sample):
        return sample(torch.zeros(2, 1, 2)).sum((-1, -2)) * 3 * x.squeeze(-1)

    errors = {}
    for reads in ("logits", "input"):
        estimator = Reinforce({"network": InputNetwork}, features=[2 if reads == "logits" else 1], reads=reads)
        optimizer = torch.optim.Adam(estimator.parameters(), 0.03)
        for _ in range(200):
            optimizer.zero_grad()
            (-estimator(WithContext(objective, {"input": lambda: x})).mean()).backward()
            optimizer.step()
        signal = 3 * x.squeeze(-1)
        read = torch.zeros(2, 1, 2) if reads == "logits" else x.unsqueeze(-2)
        errors[reads] = (signal - estimator.baselines[0]["network"](read)).square().mean().item()
    assert errors["input"] < 0.1
    assert errors["logits"] > 8


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_a_baseline_learns_at_a_rate_of_its_own(rate):
    """Also where a schedule moves the rate; without one there is a single group, as ever."""
    model, batch = built(
        "experiment=vae_digits", *NVIL, *SMALL, "optimizer=sgd", "optimizer.lr=0.1", "optimizer.algorithm.momentum=0",
        "lr_schedule=linear", "lr_schedule.hold=0", f"latent.baselines.network.rate={rate}",
    )  # fmt: skip
    optimizer = model.configure_optimizers()
    assert [group["lr"] for group in optimizer.param_groups] == ([0.1] if rate == 1 else [0.1, 1.0])
    schedule = LearningRate()
    schedule.total_steps = 10
    schedule.on_train_batch_start(Mock(spec=pl.Trainer, global_step=5, optimizers=[optimizer]), model)
    before = {name: own.detach().clone() for name, own in model.named_parameters()}
    model.training_loss(batch)[0].backward()
    optimizer.step()
    for name, own in model.named_parameters():
        factor = rate if ".network." in name and name.startswith("estimator") else 1.0
        torch.testing.assert_close(own, before[name] - 0.05 * factor * own.grad)
