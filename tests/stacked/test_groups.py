"""Which jobs are stacked: those whose steps differ in values of tensors alone."""

import pytest
from omegaconf import open_dict

from discrete_latents.config.compose import composed
from discrete_latents.stacked.groups import group_of, why_alone
from discrete_latents.training.new_run import hydra_config

TOGETHER = [
    ("seed=0", "seed=7"),
    ("optimizer.lr=1e-3", "optimizer.lr=1e-2"),
    ("optimizer=adam", "optimizer=sgd"),
    ("lr_schedule=linear", "lr_schedule=cosine"),
    ("temperature.minimum=0.5", "temperature.minimum=0.1"),
    ("beta=linear", "beta=linear beta.steps=7"),
    ("beta.start=1.0", "beta.start=4.0"),
    ("free_bits.start=0.0", "free_bits.start=0.5"),
    ("trainer.max_epochs=2", "trainer.max_epochs=3"),
    ("eval_samples=10", "eval_samples=20"),
    ("callbacks=default", "callbacks=ema"),
    ("trainer.gradient_clip_val=1.0", "trainer.gradient_clip_val=null"),
]
APART = [
    ("latent=gumbel_softmax", "latent=st_gumbel"),
    ("model.num_latents=3", "model.num_latents=4"),
    ("model.network.hidden=[8]", "model.network.hidden=[9]"),
    ("model.uniform_mix=0.0", "model.uniform_mix=0.01"),
    ("temperature=learned", "temperature=learned temperature.minimum=0.2"),
    ("temperature=exponential", "temperature=linear"),
    ("data.batch_size=100", "data.batch_size=50"),
    ("data.binarization=fixed", "data.binarization=dynamic"),
    ("trainer.precision=32-true", "trainer.precision=64-true"),
]


def configured(words: str):
    config = composed([*words.split(), "paths.output_dir=."], return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = "."
    return config


def group(words: str):
    config = configured(words)
    with hydra_config(config):
        return group_of(config)


@pytest.mark.parametrize(("first", "second"), TOGETHER)
def test_these_train_together(first: str, second: str):
    assert group(first) == group(second)


@pytest.mark.parametrize(("first", "second"), APART)
def test_these_do_not(first: str, second: str):
    assert group(first) != group(second)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("seed=1", None),
        ("compile=true", "compile = true"),
        ("train=false", "train = false"),
        ("trainer=ddp_sim", "several processes"),
        ("logger=wandb", "W&B"),
        ("hydra.job.chdir=true", "chdir"),
    ],
)
def test_these_are_trained_alone_and_it_is_said_why(words: str, why: str | None):
    config = configured(words)
    with hydra_config(config):
        said = why_alone(config)
    assert said is None if why is None else why in str(said)
