"""The study of what estimators do says what is known of them, and finds one of the user's own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from discrete_latents.latent.gradients import Draws, exact_gradient
from tests.cli.conftest import shell
from tests.helpers.modules import run_module
from tests.helpers.problems import LATENTS, Problem, traits

SHORT = ["--epochs", "0", "2", "--temperatures", "0.1", "0.5", "2", "--repeats", "500", "--tuning", "50"]
TOO_SHORT = {"nvil"}
"""Unbiased in direction alone."""

HALF = """
from discrete_latents.latent import Exact

class Half(Exact):
    def forward(self, objective):
        bound = super().forward(objective)
        return (bound + bound.detach()) / 2
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an estimator of the user's own: half the exact gradient."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "latent").mkdir()
    (folder / "my_latent.py").write_text(HALF)
    (folder / "latent" / "half.yaml").write_text("_target_: my_latent.Half\n")
    return folder


@pytest.fixture(scope="module")
def study(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The short form's output."""
    output = tmp_path_factory.mktemp("study")
    words = ["--config-dir", own, "--output", output]
    done = run_module("scripts.gradient_study", *SHORT, *words, cwd=output, paths=(own,))
    assert done.returncode == 0, done.stderr
    return output


def rows(study: Path, part: str = "training") -> list[dict[str, Any]]:
    return json.loads((study / "gradient_study.json").read_text())[part]


@pytest.mark.slow
def test_every_estimator_is_in_all_three_outputs(study: Path):
    names = {*LATENTS, "half"}
    bernoulli = {name for name in LATENTS if traits(name).bernoulli}
    assert {row["estimator"] for row in rows(study)} == names - bernoulli
    assert {row["model"] for row in rows(study)} == {"epoch 0", "epoch 2"}
    table = (study / "gradient_study.md").read_text()
    assert all(f"`{name}`" in table for name in names)  # those left out as well
    assert (study / "gradient_study.png").stat().st_size > 20_000


@pytest.mark.slow
def test_bias_is_the_noise_of_the_mean_for_unbiased_estimators_and_more_for_the_others(study: Path):
    for row in rows(study):
        if row["estimator"] in ("exact", "sparsemax", "topk_sparsemax", "half"):  # without noise
            wanted = 0.5 if row["estimator"] == "half" else 0.0
            assert row["bias"] == pytest.approx(wanted, abs=1e-4)
            assert row["cosine"] == pytest.approx(1, abs=1e-4)
            assert row["sd"] < 1e-4
        elif row["unbiased"] and row["estimator"] not in TOO_SHORT:
            assert 0.5 * row["floor"] < row["bias"] < 1.7 * row["floor"], row
        elif row["estimator"] in ("gumbel_softmax", "st_gumbel", "straight_through"):
            assert row["bias"] > 2 * row["floor"], row


@pytest.mark.slow
def test_a_smoother_relaxation_has_more_bias_and_less_variance(study: Path):
    gumbel = [row for row in rows(study, "temperatures") if row["estimator"] == "gumbel_softmax"]
    assert [row["temperature"] for row in gumbel] == [0.1, 0.5, 2.0]
    biases = [row["bias"] ** 2 - row["floor"] ** 2 for row in gumbel]  # without the noise of the mean
    variances = [row["variance"] for row in gumbel]
    assert biases == sorted(biases)
    assert variances == sorted(variances, reverse=True)


@pytest.mark.slow
def test_the_same_folder_serves_training(own: Path):
    paths = os.pathsep.join(filter(None, [str(own), os.environ.get("PYTHONPATH")]))
    listed = shell("train.py", "--config-dir", str(own), "--help", cwd=own, PYTHONPATH=paths)
    assert "half" in listed.out, listed.err
    small = ["model.num_latents=2", "model.num_classes=4", "debug=one_batch"]
    words = ["--config-dir", str(own), "latent=half", *small, "hydra.run.dir=run"]
    outcome = shell("train.py", *words, cwd=own, PYTHONPATH=paths)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--config-dir nowhere", "error: --config-dir = nowhere has no latent/*.yaml"),
        ("--run nowhere", "error: nowhere is not the directory of a run"),
        ("--latents 9", "9 latents of 4 classes takes 2.62e+05 configurations"),
    ],
)
def test_a_mistake_is_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    from scripts.gradient_study.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "set_flush_denormal", bool)  # which would stay
    monkeypatch.setattr(sys, "argv", ["gradient_study", *words.split()])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert message in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_relaxation_is_drawn(tmp_path: Path):
    done = run_module("scripts.relaxation_figure", "--output", "new/relaxation.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "relaxation.png").stat().st_size > 10_000


def test_the_exact_gradient_of_a_multi_sample_bound():
    problem = Problem(num_latents=1, num_classes=3)
    bias = problem.biases[0].clone().requires_grad_()
    log_q, log_p = bias.log_softmax(-1)[0], problem.prior.log_softmax(-1)[0]
    log_f = torch.stack([problem.log_likelihood(state) for state in problem.states()])
    weights = log_f + log_p - log_q
    pairs = torch.logaddexp(weights[:, None], weights[None]) - torch.tensor(2.0).log()
    bound = ((log_q[:, None] + log_q[None]).exp() * pairs).sum()
    (expected,) = torch.autograd.grad(bound, bias)
    leaves = problem.leaves(1)
    torch.testing.assert_close(exact_gradient(problem.objective(leaves), samples=2)[0], expected)
    torch.testing.assert_close(exact_gradient(problem.objective(leaves))[0], problem.exact_gradients()[0])


def test_bias_floor_and_cosine_of_known_draws():
    exact = torch.randn(3, 2, 4)
    noise = torch.randn(4000, 3, 2, 4)
    unbiased, doubled = Draws(noise[..., 0, 0], exact + noise), Draws(noise[..., 0, 0], (2 * exact).expand_as(noise))
    floor = (3 * 8 / 4000) ** 0.5 / exact.norm()
    torch.testing.assert_close(unbiased.floor(exact), floor, rtol=0.05, atol=0)
    assert 0.5 * floor < unbiased.bias(exact) < 1.5 * floor
    torch.testing.assert_close(doubled.bias(exact), torch.tensor(1.0))
    torch.testing.assert_close(doubled.cosine(exact), torch.tensor(1.0))
    assert 0 < unbiased.cosine(exact) < 0.95
