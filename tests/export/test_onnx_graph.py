"""The ONNX files give what the model gives, for any batch."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.config.compose import composed
from discrete_latents.data import digit_counts, digits
from discrete_latents.errors import UserError
from discrete_latents.export.onnx_graph import onnx_files
from discrete_latents.latent import layout
from discrete_latents.training.build import make_model

needs_runtime = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="what writes and runs the files is not installed: pip install onnx onnxscript onnxruntime",
)


def outputs(content: bytes, x: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])


WORDS = {
    "mlp": [],
    "cnn": ["model/network=cnn", "model.network.hidden=[8,16]"],
    "logistic": ["model/likelihood=discretized_logistic", "model.network.activation=GELU"],
}


@pytest.mark.slow
@needs_runtime
@pytest.mark.parametrize("words", WORDS)
def test_encoder_and_decoder_give_what_the_model_gives(words: str):
    torch.manual_seed(0)
    model = make_model(composed(["experiment=vae_digits", *WORDS[words], "paths.output_dir=."]), [1, 8, 8]).eval()
    files = onnx_files(model)
    assert files.keys() == {"encoder.onnx", "decoder.onnx"}
    for count in (1, 7):
        x = digits().test.grey[:count] / 255
        with torch.no_grad():
            logits = model.encode(x)
            z = logits.softmax(-1)
            mean = model.likelihood.mean(model.decode(z))
        torch.testing.assert_close(outputs(files["encoder.onnx"], x), logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs(files["decoder.onnx"], z), mean, rtol=1e-4, atol=1e-5)
        codes = layout.one_hot(logits.argmax(-1), 10, torch.float32)
        torch.testing.assert_close(outputs(files["decoder.onnx"], codes), model.decode_codes(logits.argmax(-1)))


@pytest.mark.slow
@needs_runtime
def test_classifiers_and_vectors_too(ssl_run: Path, vectors_run: Path):
    run, grey = load_run(ssl_run), digits().test.grey[:5]
    files = onnx_files(run.model)
    assert files.keys() == {"classifier.onnx"}
    logits = outputs(files["classifier.onnx"], grey / 255)
    torch.testing.assert_close(logits.softmax(-1), run.classify(grey), rtol=1e-4, atol=1e-5)
    run, counts = load_run(vectors_run), digit_counts().test.x[:5]
    codes = outputs(onnx_files(run.model)["encoder.onnx"], run.pixels(counts)).argmax(-1)
    assert torch.equal(codes, run.encode(counts))


def test_a_model_that_draws_is_refused(sbn_run: Path):
    pytest.importorskip("onnxscript", reason="onnx and onnxscript are not installed")
    with pytest.raises(UserError, match="--onnx is for models whose encoder and decoder draw nothing"):
        onnx_files(load_run(sbn_run).model)


def test_without_its_packages_it_says_what_installs_them(monkeypatch, vae_run: Path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"--onnx needs onnx, .* pip install 'discrete-latents\[onnx\]'$"):
        onnx_files(load_run(vae_run).model)
