"""A training step as a device sees it: one graph to compile, and never a wait of the host for a value."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from discrete_latents.config.compose import composed
from discrete_latents.training.build import make_model
from tests.helpers.problems import LATENTS, traits
from tests.helpers.tables import rest_is_slow
from tests.helpers.witness import TESTS

ROOT = Path(__file__).parents[2]
MODELS = ["categorical_vae", "structured_prediction", "semi_supervised", "image_tokenizer"]
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "is_nonzero",
    "equal",
    "_unique2",
    "unique_dim",
    "lift_fresh",
}
"""Operators whose result the host has to see before it goes on, and one that makes a tensor of numbers, which is then
copied to the device: on a GPU each empties the queue of work."""


class Waits(TorchDispatchMode):
    """Keeps the names of operators that would wait, and of copies between devices."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.split(".")[0]
        if name in WAITS or (name == "_to_copy" and (kwargs or {}).get("device") is not None):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


def model_of(model_name, latent, *words, device="cpu"):
    """A small model that has met its first batch, and the batch."""
    words = [f"model={model_name}", f"latent={latent}", "paths.output_dir=.", *words]
    if model_name != "semi_supervised":
        words += [f"model.num_classes={2 if traits(latent).bernoulli else 3}"]
        words += ["model.num_latents=2"] if model_name != "image_tokenizer" else []
    else:
        words += ["model.labelled_batch_size=5"]
    config = composed(words)
    torch.manual_seed(0)
    model = make_model(config, (1, 8, 8)).to(device)
    batch = (torch.rand(10, 1, 8, 8, device=device), torch.arange(10, device=device))
    model.training_loss(batch)  # makes what an estimator learns
    return model, batch


def step_of(model_name, latent, device="cpu"):
    model, batch = model_of(model_name, latent, device=device)
    optimizer = model.optimization.optimizer(model.parameters())

    def step():
        if model.estimator.temperature is not None:
            model.estimator.temperature.update(3)
        loss, _ = model.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("model", rest_is_slow(MODELS, 1))
def test_a_training_step_never_waits_for_a_value(model, latent):
    if traits(latent).bernoulli and model == "semi_supervised":
        pytest.skip("of two classes alone")
    step = step_of(model, latent)
    step()
    with Waits() as waits:
        step()
    assert waits.seen == []


@pytest.mark.parametrize("latent", [*LATENTS, "muprop latent.normalize=true"])
@pytest.mark.parametrize("model", rest_is_slow(["structured_prediction", "categorical_vae"], 1))
def test_a_training_step_leaves_its_buffers_in_place_or_says_that_it_does_not(model, latent):
    """A GPU that replays a recorded step reads and writes where the buffers were when it was recorded."""
    model, batch = model_of(model, *latent.split())

    def places():
        return {name: buffer.data_ptr() for name, buffer in model.named_buffers()}

    before = places()
    model.training_loss(batch)[0].backward()
    assert (places() != before) == model.estimator.replaces_buffers


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("model", MODELS)
def test_a_training_step_on_a_gpu_never_waits(model, latent):
    if traits(latent).bernoulli and model == "semi_supervised":
        pytest.skip("of two classes alone")
    step = step_of(model, latent, "cuda")
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_wait_would_be_seen():
    with Waits() as waits:
        torch.ones(3).sum().item()
        torch.ones(3).nonzero()
        bool(torch.ones(()) > 0)
    assert waits.seen == ["_local_scalar_dense", "nonzero", "_local_scalar_dense"]


def told(script, *latents):
    """What a script of the helpers prints last, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "helpers" / script), *latents],
        env=os.environ | TESTS | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


UNCOMPILED = {latent for latent in LATENTS if traits(latent).differentiates} | {"unordered_set"}
"""The latter has sets whose size is that of the data."""


@pytest.mark.slow
def test_every_step_is_compiled_whole_with_the_same_loss_and_gradients_or_says_that_it_cannot_be():
    differences = told("compiled_steps.py", *LATENTS)
    assert len(differences) == 3 * len(LATENTS) - sum(traits(latent).bernoulli for latent in LATENTS)
    for pair, difference in differences.items():
        if pair.split()[0] not in UNCOMPILED:
            assert isinstance(difference, float), f"{pair}: {difference}"
            assert difference < 1e-5, pair
    refused = {pair.split()[0] for pair, difference in differences.items() if isinstance(difference, str)}
    assert refused == UNCOMPILED


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_compiled_step_on_a_gpu_is_recorded_once_and_replayed():
    latents = ["gumbel_softmax", "concrete", "straight_through", "reinforce", "vimco"]
    for pair, replays in told("replayed_steps.py", *latents).items():
        assert replays == {"skipped": 0, "launched": 2}, pair  # forward and backward
