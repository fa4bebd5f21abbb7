"""Runs on a GPU: all three models, in every precision and compiled, resumed, and read where there is none."""

import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import same_bits, shell, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
EXPERIMENTS = ["vae_digits", "sbn_digits", "ssl_digits"]
WAYS = {
    "plain": [],
    "compiled": ["compile=true"],
    "bf16": ["trainer.precision=bf16-mixed"],
    "fp16": ["trainer.precision=16-mixed"],
}


def results(folder: Path, *words: str, cwd: Path) -> dict[str, float]:
    outcome = shell("train.py", *words, f"hydra.run.dir={folder}", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return json.loads((folder / "results.json").read_text())["metrics"]


@pytest.fixture(scope="module", params=EXPERIMENTS)
def on_cpu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], float]:
    """The words of an experiment, and its bound after training on a CPU."""
    folder = tmp_path_factory.mktemp("cpu")
    words = [f"experiment={request.param}", "trainer.max_epochs=5", "eval_samples=10"]
    return words, results(folder / "run", *words, cwd=folder)["test/nelbo"]


@pytest.mark.parametrize("way", WAYS)
def test_a_gpu_trains_every_model_as_a_cpu_does(on_cpu: tuple[list[str], float], way: str, tmp_path: Path):
    words, expected = on_cpu
    found = results(tmp_path / "run", *words, "trainer=gpu", *WAYS[way], cwd=tmp_path)
    assert found["test/nelbo"] == pytest.approx(expected, rel=0.03)  # of other noise


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_resumed_run_on_a_gpu_is_the_one_never_stopped(experiment: str, tmp_path: Path):
    words = [f"experiment={experiment}", "trainer=gpu", "eval_samples=10", "lr_schedule.hold=1.0"]
    results(tmp_path / "straight", *words, "trainer.max_epochs=3", cwd=tmp_path)
    results(tmp_path / "resumed", *words, "trainer.max_epochs=1", cwd=tmp_path)
    again = shell("train.py", f"resume={tmp_path / 'resumed'}", "trainer.max_epochs=3", cwd=tmp_path)
    assert again.code == 0, again.err
    straight, resumed = (weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("straight", "resumed"))
    assert same_bits(straight, resumed)


def test_a_run_of_a_gpu_is_evaluated_on_a_cpu(tmp_path: Path):
    on_gpu = results(tmp_path / "run", "trainer=gpu", "trainer.max_epochs=2", "eval_samples=1000", cwd=tmp_path)
    output = f"hydra.run.dir={tmp_path / 'evaluated'}"
    outcome = shell("eval.py", f"run={tmp_path / 'run'}", "trainer.accelerator=cpu", output, cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    on_cpu = json.loads((tmp_path / "evaluated" / "results.json").read_text())["metrics"]
    assert on_cpu["test/nll"] == pytest.approx(on_gpu["test/nll"], abs=0.05)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_stacked_runs_on_a_gpu_are_the_single_runs(experiment: str, tmp_path: Path):
    words = [f"experiment={experiment}", "trainer=gpu", "eval_samples=10", "trainer.max_epochs=2", "compile=false"]
    expected = results(tmp_path / "single", *words, "seed=1", cwd=tmp_path)
    outcome = shell("train.py", "-m", "launcher=stacked", *words, "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    found = json.loads((tmp_path / "sweep" / "1" / "results.json").read_text())["metrics"]
    assert found["test/nelbo"] == pytest.approx(expected["test/nelbo"], rel=1e-3)
