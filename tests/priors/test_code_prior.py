"""The prior over codes: its likelihood by hand and of its own samples, and the whole of both stages."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from discrete_latents.config.compose import composed
from discrete_latents.errors import UserError
from discrete_latents.latent import StraightThrough
from discrete_latents.likelihoods import Gaussian
from discrete_latents.models import ImageTokenizer
from discrete_latents.networks import ResNet
from discrete_latents.optimization import Optimization
from discrete_latents.priors import CodePrior, code_prior, codes
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.train import train

WORDS = ["model=image_tokenizer", "model.network.hidden=[4,6]", "model.width=5", "model.num_classes=3"]


def made(num_latents: int, num_classes: int, monkeypatch: Any) -> CodePrior:
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(
        (1, 4, 4 * num_latents),
        num_classes=num_classes,
        network=ResNet([2, 2]),
        estimator=StraightThrough(),
        likelihood=Gaussian(),
        optimization=Optimization(torch.optim.Adam),
    )
    run = SimpleNamespace(model=tokenizer)
    monkeypatch.setattr(code_prior, "load_tokenizer", lambda path: run)
    prior = CodePrior("x", Optimization(torch.optim.Adam), width=8, layers=1, heads=2).eval()
    torch.nn.init.normal_(prior.head[-1].weight)
    return prior


def test_bits_are_the_cross_entropy_by_hand(monkeypatch):
    prior = made(5, 7, monkeypatch)
    given = torch.randint(0, 7, (3, 5))
    expected = []
    for row in given:
        total = 0.0
        for n in range(5):
            logits = prior(row[:n].unsqueeze(0))[0, n]  # of the codes before alone
            total -= float(logits.detach().log_softmax(-1)[row[n]])
        expected.append(total)
    torch.testing.assert_close(-prior.log_prob(given), torch.tensor(expected))
    logged: dict[str, float] = {}
    prior.log = lambda name, value, **_: logged.update({name: float(value)})
    prior.measured("test", (given, torch.zeros(3)))
    mean = sum(expected) / 3
    assert logged["test/loss"] == pytest.approx(mean, rel=1e-5)
    assert logged["test/bits_per_image"] == pytest.approx(mean / math.log(2), rel=1e-5)
    assert logged["test/bits_per_code"] == pytest.approx(mean / math.log(2) / 5, rel=1e-5)


def test_no_code_sees_itself_or_those_after_it(monkeypatch):
    prior = made(6, 4, monkeypatch)
    given = torch.randint(0, 4, (1, 6))
    for n in range(6):
        changed = given.clone()
        changed[0, n] = (changed[0, n] + 1) % 4
        same = torch.isclose(prior(given), prior(changed), atol=1e-6).all(-1)[0]
        assert same[: n + 1].all()
        assert n == 5 or not same[n + 1 :].all()


def test_probabilities_are_those_of_its_own_samples(monkeypatch):
    prior = made(2, 3, monkeypatch)
    count = 20_000
    drawn = prior.sample_codes(count)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    with torch.no_grad():
        p = prior.log_prob(every).exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0))
    found = F.one_hot(drawn[:, 0] * 3 + drawn[:, 1], 9).float().mean(0)
    assert ((found - p).abs() < 4 * (p * (1 - p) / count).sqrt()).all()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [*WORDS, "trainer.max_epochs=1", "eval_samples=2", "+trainer.limit_train_batches=3"]
    words += ["trainer.log_every_n_steps=1"]
    config = composed([*words, f"paths.output_dir='{folder}'"])
    train(config, {"experiment": "any", "latent": "gumbel_softmax"})
    RunDirectory(folder).save_config(config)
    return folder


def test_a_tokenizer_and_its_prior_train_and_draw(tokenizer, tmp_path):
    words = ["experiment=code_prior", f"tokenizer={tokenizer}", "model.width=16", "model.layers=1"]
    config = composed([*words, "trainer.max_epochs=2", f"paths.output_dir='{tmp_path}'"])
    results = train(config, {"experiment": "code_prior", "latent": "none"})
    assert results["status"] == "completed"
    assert results["metrics"]["test/bits_per_image"] == pytest.approx(results["metrics"]["test/loss"] / math.log(2))
    assert 0 < results["metrics"]["test/bits_per_code"] < 1.1 * math.log2(3)
    assert (tmp_path / "images" / "samples.png").is_file()
    assert json.loads((tmp_path / "results.json").read_text())["latent"] == "none"


def test_codes_are_those_of_the_tokenizer(tokenizer):
    splits = codes(str(tokenizer))
    assert [part.x.shape for part in splits] == [(1297, 4), (250, 4), (250, 4)]
    assert splits.train.x.dtype == torch.int64
    assert int(splits.train.x.max()) < 3


@pytest.mark.parametrize("folder", [None, "nowhere"])
def test_what_is_no_tokenizer_is_one_line(folder):
    with pytest.raises(UserError, match=r"tokenizer must be the RUN_DIR|nowhere"):
        codes(folder)
