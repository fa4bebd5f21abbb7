"""Every estimator, found by its YAML, learns to encode."""

from functools import cache
from pathlib import Path

import pytest

from discrete_latents.models import LatentModel
from discrete_latents.training import build
from discrete_latents.training.train import train as train_run
from tests.config.test_options import composed
from tests.helpers.problems import LATENTS, traits

pytestmark = pytest.mark.slow

CATEGORICAL = ("model.num_latents=3", "model.num_classes=6")  # 216 states: few enough for `exact`
BERNOULLI = ("model.num_latents=8", "model.num_classes=2")


def nelbo(words: tuple[str, ...], folder: Path) -> float:
    """The test nelbo of a short run of vae_digits."""
    settings = ["trainer.max_epochs=30", "optimizer.lr=1e-2", "eval_samples=1", "callbacks.pictures.every_n_epochs=0"]
    config = composed("experiment=vae_digits", *settings, *words, f"paths.output_dir='{folder}'")
    return train_run(config, {"experiment": "vae_digits", "latent": "any"})["metrics"]["test/nelbo"]


@pytest.fixture(scope="session")
def frozen_nelbo(tmp_path_factory):
    """What the decoder alone reaches, on hard samples of an encoder that stays as it was at first."""

    @cache
    def train(words: tuple[str, ...]) -> float:
        make_model = build.make_model

        def frozen(*arguments: object) -> LatentModel:
            model = make_model(*arguments)
            model.encoder.requires_grad_(False)
            return model

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "make_model", frozen)
            return nelbo(("latent=straight_through", *words), tmp_path_factory.mktemp("frozen"))

    return train


@pytest.mark.parametrize("name", LATENTS)
def test_it_trains_the_digits_better_than_a_frozen_encoder_does(name: str, frozen_nelbo, tmp_path: Path):
    model = BERNOULLI if traits(name).bernoulli else CATEGORICAL
    trained, frozen = nelbo((f"latent={name}", *model), tmp_path), frozen_nelbo(model)
    assert trained < frozen - 0.5, f"{trained:.2f} against {frozen:.2f} nats"
