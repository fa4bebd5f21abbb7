"""The quantisers: codes, gradients as published, and models that refuse them."""

import math
import sys
from typing import Any

import pytest
import torch

from discrete_latents.config.compose import composed
from discrete_latents.errors import NotApplicable, UserError
from discrete_latents.latent import HardSampler
from discrete_latents.quantizers import FSQ, LFQ, VQ, Quantizer
from discrete_latents.quantizers.fsq import powers
from discrete_latents.training.build import build_data, build_model

pytest.importorskip("vector_quantize_pytorch", reason="needs the extra tokenizer")

ALL = {"vq": VQ, "fsq": FSQ, "lfq": LFQ}
WORDS = ["model=image_tokenizer", "model.network.hidden=[4,6]", "model.width=5", "model.num_classes=4"]


def prepared(quantizer: Quantizer, num_classes: int = 64, width: int = 3) -> int:
    torch.manual_seed(0)
    return quantizer.prepare((1, 8, 8), num_classes, width)


def built(latent: str, *words: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = composed([*WORDS, f"latent={latent}", *words])
    data = build_data(config)
    return build_model(config, data), data


@pytest.mark.parametrize("name", ALL)
def test_vectors_are_those_of_the_codes(name):
    quantizer = ALL[name]()
    channels = prepared(quantizer)
    vectors, codes, kl = quantizer.eval().code(torch.randn(7, 5, channels))
    assert codes.shape == (7, 5)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < 64
    assert len(codes.unique()) > 5
    torch.testing.assert_close(quantizer.look_up(codes), vectors)
    torch.testing.assert_close(kl, torch.full((7,), 5 * math.log(64)))


def test_the_gradient_of_vq_is_straight_through_and_commits():
    """Of van den Oord et al. 2017, equation 3: ∇_z_q f, plus 2 β (z_e − e) / D per feature, of a mean over features."""
    quantizer = VQ(commitment=0.25).train()
    prepared(quantizer)
    x = torch.randn(4, 5, 3, requires_grad=True)
    weights = torch.randn(4, 5, 3)
    book = quantizer.quantizer.codebook.clone()
    vectors, codes, kl = quantizer.code(x)
    torch.testing.assert_close(vectors, book[codes])
    torch.testing.assert_close(codes, torch.cdist(x, book).argmin(-1))
    (found,) = torch.autograd.grad((weights * vectors.square()).sum() + kl[0], x)
    straight = 2 * weights * vectors
    commitment = 0.25 * 2 * (x - book[codes]) / x.numel() * (1 * 8 * 8)
    torch.testing.assert_close(found, straight + commitment)


def test_the_codebook_of_vq_is_a_moving_average():
    quantizer = VQ(decay=0.9, dead_below=0).train()
    prepared(quantizer, 2, 3)
    x = torch.randn(1, 6, 3)
    before = quantizer.quantizer.codebook.clone()
    _, codes, _ = quantizer.code(x.requires_grad_())
    after = quantizer.quantizer.codebook
    for k in range(2):
        near = x[0, codes[0] == k]
        total, count = 0.9 * before[k] + 0.1 * near.sum(0), 0.9 + 0.1 * len(near)
        torch.testing.assert_close(after[k], total / count, rtol=1e-3, atol=1e-3)


def test_a_code_of_vq_that_nothing_is_near_is_replaced():
    quantizer = VQ(decay=0.5, dead_below=0.5).train()
    prepared(quantizer, 8, 3)
    with torch.no_grad():
        quantizer.quantizer.codebook[0].fill_(1e3)
    x = torch.randn(8, 16, 3, requires_grad=True)
    for _ in range(10):
        quantizer.code(x)
    assert quantizer.quantizer.codebook.abs().max() < 10


def test_what_has_no_gradient_leaves_the_codebook():
    quantizer = VQ().train()
    prepared(quantizer)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    with torch.no_grad():
        quantizer.code(torch.randn(4, 5, 3))
    quantizer.eval().code(torch.randn(4, 5, 3, requires_grad=True))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_the_gradient_of_fsq_is_that_of_the_bound_number():
    """Of Mentzer et al. 2024, section 3.1: rounding passes the gradient of tanh(x + s) (L − 1) (1 + ε) / 2."""
    quantizer = FSQ([8, 5]).train()
    prepared(quantizer, 40)
    x = torch.randn(2, 4, 2, requires_grad=True)
    vectors, _, kl = quantizer.code(x)
    (found,) = torch.autograd.grad(vectors.sum() + kl.sum(), x)
    levels = torch.tensor([8.0, 5.0])
    half = (levels - 1) * (1 + 1e-3) / 2
    shift = torch.tensor([math.atanh(0.5 / half[0].item()), 0.0])
    expected = (1 - (x + shift).tanh() ** 2) * half / (levels // 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("num_classes", "levels"),
    [(4, [4]), (8, [8]), (16, [4, 4]), (512, [8, 8, 8]), (8192, [8, 8, 8, 4, 4]), (65536, [8] * 4 + [4, 4])],
)
def test_levels_of_a_power_of_two(num_classes, levels):
    assert powers(num_classes) == levels


@pytest.mark.parametrize("num_classes", [2, 3, 6, 500])
def test_no_levels_of_another_number(num_classes):
    assert powers(num_classes) is None


@pytest.mark.parametrize("name", ALL)
def test_the_bound_of_a_certain_code_counts_its_bits(name):
    model, data = built(name)
    model.eval()
    batch = data.first("val", 6)
    with torch.no_grad():
        sampler = HardSampler()
        value = model.objective(batch)(sampler)
        torch.testing.assert_close(sampler.kl, torch.full((6,), 4 * math.log(4)))
        torch.testing.assert_close(model.evaluator(model.objective(batch)), value - sampler.kl)
        torch.testing.assert_close(
            model.decode_codes(sampler.codes[0]), model.decode_codes(model.encode_codes(batch[0]))
        )
        torch.testing.assert_close(model(batch), value - sampler.kl)


@pytest.mark.parametrize("name", ALL)
def test_the_value_of_the_loss_is_minus_the_bound(name):
    model, data = built(name)
    loss, bound = model.training_loss(data.first("train", 6))
    assert loss == -bound
    loss.backward()
    assert all(weight.grad is not None for weight in model.encoder.parameters())


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_needs_a_kl_refuses_in_one_line(name):
    """The other models: tests/config/test_options.py."""
    config = composed([f"latent={name}"])
    with pytest.raises(NotApplicable, match=f"{ALL[name].__name__} is a deterministic code with no KL: choose model="):
        build_model(config, build_data(config))


@pytest.mark.parametrize("name", ALL)
def test_a_missing_package_is_one_line(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    with pytest.raises(
        UserError, match=r"needs vector-quantize-pytorch, which is not installed: pip install 'discrete"
    ):
        built(name)


@pytest.mark.parametrize("name", ["st_gumbel", *ALL])
def test_an_empty_batch_has_no_metrics_and_no_effect(name):
    """Of a process for which no image is left."""
    model, data = built(name)
    model.eval()
    x, labels = data.first("val", 2)
    sampler = HardSampler()
    with torch.no_grad():
        value = model.objective((x[:0], labels[:0]))(sampler)
        found = model.observe((x[:0], labels[:0]), sampler, -value)
    assert value.shape == (0,)
    assert {metric.shape for metric in found.values()} == {(0,)}
    assert model.code_usage.counts.sum() == 0
