"""Trained runs from Python. What the methods give is in the doctests of `discrete_latents.api`."""

import re
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import torch

from discrete_latents import load_run
from discrete_latents.data import digit_counts, digits
from discrete_latents.errors import UserError
from discrete_latents.likelihoods import Categorical


def test_pixels_of_any_form_give_the_same_codes(vae_run):
    run = load_run(vae_run)
    grey = digits().test.grey[:20]
    codes = run.encode(grey)
    assert torch.equal(codes, run.encode(grey / 255))
    assert torch.equal(codes, run.encode(grey.squeeze(1)))
    run.batch_size = 3
    assert torch.equal(codes, run.encode(grey))


FORMS = {
    "uint8": lambda x: x,
    "float64": lambda x: x.double() / 255,
    "a NumPy array": lambda x: x.numpy(),
    "floats of NumPy": lambda x: x.numpy() / 255,
    "another byte order": lambda x: (x.numpy() / 255).astype(">f4"),
    "reversed twice": lambda x: np.ascontiguousarray(x.numpy()[::-1])[::-1],
    "in Fortran's order": lambda x: np.asfortranarray(x.numpy()),
    "without the channel": lambda x: x.numpy()[:, 0],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("error")
def test_images_in_any_form_give_the_same_codes(vae_run, form):
    run, grey = load_run(vae_run), digits().test.grey[:20]
    assert torch.equal(run.encode(grey), run.encode(FORMS[form](grey)))


COUNTS = {
    "uint8": lambda x: x.to(torch.uint8),
    "float64": lambda x: x.double(),
    "a NumPy array": lambda x: x.numpy(),
    "another byte order": lambda x: x.numpy().astype(">i4"),
}


@pytest.mark.parametrize("form", COUNTS)
def test_vectors_in_any_form_give_the_same_codes(vectors_run, form):
    run, counts = load_run(vectors_run), digit_counts().test.x[:20]
    codes = run.encode(counts)
    assert len(codes.unique()) > 3
    assert torch.equal(codes, run.encode(COUNTS[form](counts)))
    rates = run.decode(codes)
    assert rates.shape == (20, 64)
    assert ((counts - rates).abs().mean() < (counts - rates.roll(1, 0)).abs().mean()).item()


BAD_COUNTS = {
    "fractions": (lambda x: x / 16, "vectors must be whole numbers from 0, got float32 (20, 64) from 0 to 1"),
    "negative": (lambda x: x - 1, "vectors must be whole numbers from 0, got int64 (20, 64) from -1 to 15"),
    "NaN": (lambda x: x / 0, "vectors must be finite numbers, got NaN"),
    "images": (lambda x: x.view(-1, 1, 8, 8), "vectors must be (n, 64), as the model was trained on, got int64 (20, 1"),
    "narrower": (lambda x: x[:, 1:], "vectors must be (n, 64), as the model was trained on, got int64 (20, 63)"),
    "complex": (lambda x: x * 1j, "vectors must be numbers, got complex64 (20, 64)"),
}


@pytest.mark.parametrize("what", BAD_COUNTS)
def test_vectors_of_another_convention_are_refused(vectors_run, monkeypatch, what):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    change, said = BAD_COUNTS[what]
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        load_run(vectors_run).encode(change(digit_counts().test.x[:20]))


def test_real_numbers_are_not_divided_and_classes_are_those_of_the_likelihood(vae_run):
    run, grey = load_run(vae_run), digits().test.x[:20]
    run.model.kind = "real"  # as of a Gaussian's run
    assert torch.equal(run.pixels(grey.numpy() / 1.0 - 3), grey.float() - 3)
    assert torch.equal(run.pixels(grey), grey.float())
    run.model.kind, run.model.likelihood = "whole", Categorical(200)
    with pytest.raises(ValueError, match=r"^categories must be at least 256, the classes of x, got 200$"):
        run.encode(grey)


def test_an_array_that_is_read_only_is_read(vae_run):
    run, grey = load_run(vae_run), digits().test.grey[:20].numpy()
    grey.flags.writeable = False
    assert run.encode(grey).shape == (20, 20)


def test_binary_images_may_be_bool(vae_run):
    run, binary = load_run(vae_run), digits().test.grey[:20] > 127
    assert torch.equal(run.encode(binary), run.encode(binary.float()))
    assert torch.equal(run.encode(binary), run.encode(binary.numpy()))


def test_no_images_have_no_codes(vae_run):
    run = load_run(vae_run)
    assert run.encode(digits().test.grey[:0]).shape == (0, 20)
    assert run.decode(torch.zeros(0, 20, dtype=torch.long)).shape == (0, 1, 8, 8)


IMAGES = {
    "int64": (lambda x: x.long(), "floats in [0, 1], got int64 (20, 1, 8, 8)"),
    "int64 of NumPy": (lambda x: x.long().numpy(), "floats in [0, 1], got int64 (20, 1, 8, 8)"),
    "floats to 255": (lambda x: x.float(), "floats in [0, 1], got float32 (20, 1, 8, 8) from 0 to 255"),
    "standardised": (lambda x: x / 127.5 - 1, "floats in [0, 1], got float32 (20, 1, 8, 8) from -1 to 1"),
    "NaN": (lambda x: torch.where(x > 200, float("nan"), x / 255), "got float32 (20, 1, 8, 8) with NaN"),
    "infinite": (lambda x: x / 0, "in [0, 1], got float32 (20, 1, 8, 8)"),
    "uint8 of 0 and 1": (lambda x: x // 128, "uint8 from 0 to 255, got only 0 and 1; binary images are given as bool"),
    "complex": (lambda x: x.to(torch.complex64), "got complex64"),
    "three channels": (lambda x: x.expand(-1, 3, -1, -1), "must be (n, 1, 8, 8), as the model was trained on, got"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), "must be (n, 1, 8, 8), as the model was trained on, got"),
    "larger": (lambda x: x.repeat(1, 1, 2, 2), "must be (n, 1, 8, 8), as the model was trained on, got"),
    "one image": (lambda x: x[0, 0], "must be (n, 1, 8, 8), as the model was trained on, got uint8 (8, 8)"),
    "flat": (lambda x: x.flatten(1), "must be (n, 1, 8, 8), as the model was trained on, got uint8 (20, 64)"),
    "a list": (lambda x: x.tolist(), "must be a dense tensor or a NumPy array, got a list"),
    "nothing": (lambda x: None, "must be a dense tensor or a NumPy array, got None"),
    "sparse": (lambda x: x.to_sparse(), "must be a dense tensor or a NumPy array, got a Tensor"),
    "objects": (lambda x: np.array([None, 3]), "must be numbers, got object (2,)"),
    "text": (lambda x: np.array(["a"]), "must be numbers, got str"),
}


@pytest.mark.parametrize("method", ["encode", "complete", "classify"])
@pytest.mark.parametrize("what", IMAGES)
def test_images_of_another_convention_are_refused(request, monkeypatch, method, what):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    run = load_run(request.getfixturevalue({"encode": "vae_run", "complete": "sbn_run", "classify": "ssl_run"}[method]))
    change, said = IMAGES[what]
    with pytest.raises(ValueError, match=f"^images {re.escape(said)}" if said.startswith("must") else re.escape(said)):
        getattr(run, method)(change(digits().test.grey[:20]))


CODES = {
    "floats": (lambda z: z.float(), "must be whole numbers (n, 20), got float32 (20, 20)"),
    "bool": (lambda z: z > 0, "must be whole numbers (n, 20), got bool (20, 20)"),
    "one too high": (lambda z: z.clamp(max=9) + 1, "must be from 0 to 9, got"),
    "negative": (lambda z: -z - 1, "must be from 0 to 9, got -"),
    "fewer latents": (lambda z: z[:, :3], "must be whole numbers (n, 20), got int64 (20, 3)"),
    "one code": (lambda z: z[0], "must be whole numbers (n, 20), got int64 (20,)"),
    "one-hot": (lambda z: torch.nn.functional.one_hot(z, 10), "must be whole numbers (n, 20), got int64 (20, 20, 10)"),
    "floats of NumPy": (lambda z: z.double().numpy(), "must be whole numbers (n, 20), got float64 (20, 20)"),
    "a list": (lambda z: z.tolist(), "must be a dense tensor or a NumPy array, got a list"),
}


@pytest.mark.parametrize("what", CODES)
def test_codes_that_cannot_be_are_refused(vae_run, monkeypatch, what):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    change, said = CODES[what]
    codes = torch.cat([torch.arange(20) % 10, torch.full((380,), 9)]).view(20, 20)
    with pytest.raises(ValueError, match=f"^codes {re.escape(said)}"):
        load_run(vae_run).decode(change(codes))


@pytest.mark.parametrize("form", [lambda z: z.int(), lambda z: z.numpy(), lambda z: z.numpy().astype(np.uint8)])
def test_codes_in_any_form_give_the_same_images(vae_run, form):
    run, codes = load_run(vae_run), torch.arange(40).view(2, 20) % 10
    assert torch.equal(run.decode(codes), run.decode(form(codes)))


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_a_count_that_cannot_be_is_refused(vae_run, sbn_run, monkeypatch, count):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for call in (
        load_run(vae_run).sample,
        lambda count: load_run(sbn_run).complete(digits().test.grey[:2], count=count),
    ):
        with pytest.raises(ValueError, match=f"^count must be a whole number of at least 1, got {count}$"):
            call(count)


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
