"""The image tokeniser against enumeration by hand, its metrics, and what it refuses."""

import math
from copy import deepcopy
from itertools import product
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from discrete_latents.config.compose import composed
from discrete_latents.data import digits
from discrete_latents.errors import UserError
from discrete_latents.latent import HardSampler, Sampler
from discrete_latents.models import ImageTokenizer
from discrete_latents.training.build import build_data, build_model

SMALL = ["model=image_tokenizer", "model.network.hidden=[4,6]", "model.width=5", "model.num_classes=3"]


def built(*words: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    config = composed([*SMALL, "data.binarization=grey", "latent=exact", *words])
    data = build_data(config)
    return build_model(config, data), data


@pytest.fixture(scope="module", params=["free", "distance"])
def small(request) -> tuple[ImageTokenizer, Any]:
    model, data = built("model.prior=per_position", f"model.logits={request.param}", "model.encoder_gain=1.0")
    torch.nn.init.normal_(model.prior_logits)
    with torch.no_grad():
        model.encoder.network[-1].weight.mul_(5)
    return model, data


def by_hand(model: ImageTokenizer, x: torch.Tensor) -> torch.Tensor:
    """Σ_z q(z) (log p(x | z) + log p(z) − log q(z)) over the 3⁴ codes of a 2×2 grid, one after the other."""
    features = model.encoder(model.inputs(x)).flatten(2).mT  # of 2×2 cells
    if model.by_distance:
        features = features @ model.projection.weight.T + model.projection.bias
        squared = (features.unsqueeze(2) - model.codebook).square().sum(-1)
        features = -squared / 2 * model.log_precision.exp()
    log_q = features.log_softmax(-1)
    log_p = model.prior_logits.log_softmax(-1).expand(4, 3)
    total = x.new_zeros(len(x))
    for code in product(range(3), repeat=4):
        grid = torch.stack([model.codebook[k] for k in code]).T.view(1, -1, 2, 2)
        output = model.decoder(grid) + model.output_bias
        q = sum(log_q[:, n, k] for n, k in enumerate(code))
        p = sum(log_p[n, k] for n, k in enumerate(code))
        total = total + q.exp() * (model.likelihood.log_prob(x, output.expand(len(x), *output.shape[1:])) + p - q)
    return total


def test_the_bound_and_its_gradient_are_those_of_enumeration(small):
    model, data = small
    batch = (data.first("train", 2)[0].double(), torch.zeros(2))
    model = deepcopy(model).double()  # float32 leaves 1e-2 of a gradient's smaller numbers
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    expected = by_hand(model, batch[0])
    found = model(batch)
    torch.testing.assert_close(found, expected)
    pairs = [torch.autograd.grad(value.sum(), weights) for value in (found, expected)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_mean_of_hard_samples_is_the_bound_of_enumeration(small):
    model, data = small
    batch = data.first("train", 2)
    with torch.no_grad():
        expected = by_hand(model, batch[0])
        sampler = HardSampler((4000,))
        values = model.objective(batch)(sampler) - sampler.kl
    error = values.std(0) / 4000**0.5
    assert ((values.mean(0) - expected).abs() < 4 * error).all()


@pytest.mark.parametrize("prior", ["per_code", "per_position"])
def test_samples_of_a_trained_prior_have_its_probabilities(prior):
    model, _ = built(f"model.prior={prior}")
    torch.nn.init.normal_(model.prior_logits)
    drawn: list[torch.Tensor] = []
    model.decode_codes = lambda codes: drawn.append(codes) or codes.float()
    model.sample(20_000)
    found = F.one_hot(drawn[0], 3).float().mean(0)
    expected = model.prior_logits.softmax(-1).expand(4, 3)
    assert (found - expected).abs().max() < 4 * 0.5 / 20_000**0.5


def test_a_vector_of_a_codebook_is_that_of_the_code_by_look_up_and_by_product():
    torch.manual_seed(1)
    logits, codebook = torch.randn(2, 3, 4), torch.randn(4, 5)
    looked_up = HardSampler()
    vectors = looked_up(logits, codebook=codebook)
    (codes,) = looked_up.codes
    torch.testing.assert_close(vectors, codebook[codes])
    z = F.one_hot(codes, 4).float()
    torch.testing.assert_close(Sampler(lambda *_: (z, 0.0))(logits, codebook=codebook), vectors)


@pytest.mark.parametrize("latent", ["gumbel_softmax", "rloo", "rebar", "reinmax", "muprop"])
def test_the_codebook_learns_under_every_kind_of_estimator(latent):
    model, data = built(f"latent={latent}")
    model.training_loss(data.first("train", 8))[0].backward()
    assert model.codebook.grad is not None
    assert model.codebook.grad.isfinite().all()
    assert model.codebook.grad.abs().sum() > 0


def test_metrics_of_an_evaluation_are_those_by_hand():
    model, data = built("latent=st_gumbel", "data=patches", "model.num_classes=8")
    model.kind = "levels"
    batch = data.first("val", 3)
    sampler = HardSampler()
    with torch.no_grad():
        nelbo = -model.objective(batch)(sampler) + sampler.kl
        found = model.observe(batch, sampler, nelbo)
        mean = model.decode_codes(sampler.codes[0])
    mse = ((batch[0] - mean) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(found["mse"], mse)
    torch.testing.assert_close(
        found["psnr"], 10 * torch.log10(1 / ((batch[0] - mean.clamp(0, 1)) ** 2).mean((1, 2, 3)))
    )
    torch.testing.assert_close(found["bits_per_dim"], nelbo / (3 * 32 * 32 * math.log(2)))
    assert found["ssim"].shape == (3,)
    assert found["ssim"].abs().max() <= 1
    usage = model.code_usage.compute()
    counts = sampler.codes[0].flatten().bincount(minlength=8)
    torch.testing.assert_close(usage["code_usage"], (counts > 0).float().mean())
    p = counts / counts.sum()
    torch.testing.assert_close(usage["perplexity"], torch.special.entr(p).sum().exp())


def test_a_picture_of_itself_has_the_best_distortion():
    model, data = built("latent=st_gumbel", "data=patches")
    model.kind = "levels"
    x, labels = data.first("val", 2)
    sampler = HardSampler()
    model.objective((x, labels))(sampler)
    model.decode_codes = lambda codes: x
    found = model.observe((x, labels), sampler, torch.zeros(2))
    assert found["mse"].max() == 0
    assert found["ssim"].min() > 0.999
    assert found["psnr"].min() > 90


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model/network=mlp"], "network must keep a grid of features, as resnet does, got MLP"),
        (["model.prior=learned"], "prior must be one of uniform, per_code, per_position, got 'learned'"),
        (["model.logits=near"], "logits must be free or distance, got 'near'"),
        (["model.encoder_gain=0"], "encoder_gain must be"),
        (["model.network.hidden=[4,4,4,4]"], "needs images that can be halved 4 times"),
        (["model.network.decoder_hidden=[4]"], "decoder_hidden must have as many widths as hidden"),
        (["latent=vq", "model.uniform_mix=0.1"], "VQ is a deterministic code with no KL: free_bits and uniform_mix"),
        (["latent=fsq", "free_bits=constant", "free_bits.start=0.1"], "FSQ is a deterministic code with no KL"),
        (["latent=fsq", "model.prior=per_code"], "prior uniform"),
        (["latent=lfq"], "num_classes must be a power of 2 for LFQ, got 3"),
        (["latent=fsq", "latent.levels=[3,3]"], "levels must have the product num_classes = 3, got"),
        (["latent=fsq", "latent.levels=[2]"], "levels must be a list of whole numbers of at least 3"),
    ],
)
def test_what_cannot_be_a_tokenizer_is_one_line(words, said):
    with pytest.raises(UserError, match=said.replace("[", r"\[")):
        built(*words)


def test_a_quantiser_says_that_it_uses_no_beta(caplog):
    model, _ = built("latent=fsq", "latent.levels=[3]", "beta=tokenizer")
    assert "beta is not used: FSQ is a deterministic code with no KL" in caplog.text
    assert not model.kl_weight.changes


def test_the_grid_is_that_of_the_images():
    assert digits().train.x.shape[1:] == (1, 8, 8)
    model, data = built()
    assert model.grid == (2, 2)
    assert model.encode_codes(data.first("val", 3)[0]).shape == (3, 4)
