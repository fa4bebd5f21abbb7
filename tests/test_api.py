"""Trained runs from Python. What the methods give is in the doctests of `discrete_latents.api`."""

import subprocess
import sys

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.data import digits
from discrete_latents.errors import UserError


def test_pixels_of_any_form_give_the_same_codes(vae_run):
    run = load_run(vae_run)
    grey = digits().test.grey[:20]
    codes = run.encode(grey)
    assert torch.equal(codes, run.encode(grey / 255))
    assert torch.equal(codes, run.encode(grey.squeeze(1)))
    run.batch_size = 3
    assert torch.equal(codes, run.encode(grey))


def test_completions_are_beside_their_image_and_keep_its_given_half(sbn_run):
    run = load_run(sbn_run)
    images = digits().test.grey[:20] / 255
    run.batch_size = 7
    completed = run.complete(images, count=3)
    assert completed.shape == (20, 3, 1, 8, 8)
    torch.testing.assert_close(completed[..., :4, :], images[:, None, :, :4].expand(-1, 3, -1, -1, -1))


def test_the_checkpoint_is_what_is_loaded(vae_run):
    weights = torch.load(vae_run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    loaded = load_run(vae_run, ckpt="last").model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_a_method_that_the_model_has_no_use_for_says_so(ssl_run):
    with pytest.raises(TypeError, match="a SemiSupervised does not encode"):
        load_run(ssl_run).encode(digits().test.grey[:2])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no checkpoint best\.ckpt"):
        load_run(tmp_path)


def test_the_latent_module_alone_imports_neither_lightning_nor_hydra():
    code = "import sys, discrete_latents.latent; print({'lightning', 'hydra', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
