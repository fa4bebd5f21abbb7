"""The benchmark measures what it says, by hand as by train.py, and stops without leaving a process behind."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from discrete_latents.config.compose import composed
from discrete_latents.training.build import make_model
from scripts.benchmark import contenders as by_hand
from scripts.benchmark import race
from scripts.benchmark.cases import CASES
from tests.helpers.modules import ROOT, command, environment, run_module


@pytest.mark.parametrize("name", CASES)
def test_the_benchmark_multiplies_the_same_matrices_by_hand_as_train_py(name: str):
    case = CASES[name]
    model = make_model(composed([*case.settings(), "paths.output_dir=."]), (1, 28, 28))

    def matrices(module: nn.Module) -> list[tuple[int, int]]:
        return sorted((each.out_features, each.in_features) for each in module.modules() if isinstance(each, nn.Linear))

    shapes = matrices(model)
    assert matrices(by_hand.MODELS[case.model](case)) == shapes
    multiplied = Counter((outputs, inputs) for _, inputs, outputs, _ in by_hand.product_shapes(case))
    assert multiplied.keys() == set(shapes)
    assert all(multiplied[shape] >= count for shape, count in Counter(shapes).items())


def test_the_benchmark_loop_by_hand_is_without_lightning():
    imported = "import scripts.benchmark.contenders, sys; sys.exit(any('lightning' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", imported], cwd=ROOT, env=environment()).returncode == 0


def test_processes_import_this_package_whatever_the_working_directory_holds(tmp_path: Path):
    (tmp_path / "scripts" / "benchmark").mkdir(parents=True)
    for folder in ("scripts", "scripts/benchmark"):
        (tmp_path / folder / "__init__.py").write_text("raise SystemExit('another package')")
    done = subprocess.run(race.module("startup"), cwd=tmp_path, env=race.environment(), capture_output=True, text=True)
    assert "IndexError" in done.stderr  # its own main, which misses its arguments


def benchmark(folder: Path, data: Path, *words: str) -> dict[str, Any]:
    """The report after a call of the benchmark."""
    done = run_module("scripts.benchmark", "--data", data, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results" / "benchmark.json").read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_benchmark_of_a_gpu_says_that_there_is_none(tmp_path: Path):
    done = run_module("scripts.benchmark", "--device", "cuda", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: --device cuda needs a GPU\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.mnist
def test_a_benchmark_that_is_stopped_writes_what_it_has_and_leaves_no_contender(mnist_root: Path, tmp_path: Path):
    words = ["--cases", "linear", "structured", "--contenders", "plain", "ours", "--blocks", "2", "--steps", "100"]
    called = command("scripts.benchmark", "--data", mnist_root, "--only", "steps", *words)
    process = subprocess.Popen(
        called, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    second = tmp_path / "logs" / "benchmark" / "structured"
    while not second.exists():
        assert process.poll() is None
        time.sleep(0.05)
    assert writers(tmp_path)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.decode().splitlines()[-1] == "error: stopped by SIGTERM"
    report = json.loads((tmp_path / "results" / "benchmark.json").read_text())
    assert list(report["steps"]) == ["linear"]
    deadline = time.monotonic() + 30
    while found := writers(tmp_path):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def writers(folder: Path) -> list[str]:
    """The files below a folder that are a process's standard output, where the system shows it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        with suppress(OSError):
            found.append(os.readlink(path))
    return [each for each in found if each.startswith(str(folder))]


@pytest.mark.slow
@pytest.mark.mnist
def test_the_benchmark_times_every_contender_in_turn(mnist_root: Path, tmp_path: Path):
    small = ["--only", "steps", "--steps", "100", "--blocks", "2"]
    names = ["plain", "ours", "template", "products", "onednn_products"]
    benchmark(tmp_path, mnist_root, *small, "--cases", "linear", "--contenders", *names)
    report = benchmark(tmp_path, mnist_root, *small, "--cases", "semi-supervised", "--contenders", "plain", "template")
    assert list(report["steps"]["semi-supervised"]["steady"]) == ["plain"]
    for row in report["steps"]["linear"].values():  # kept from the first call
        assert row["plain"]["ratio"] == 1
        assert row["template"]["ratio"] > row["ours"]["ratio"] > row["onednn_products"]["ratio"] > 0
    assert report["steps"]["linear"]["steady"]["plain"]["peak_MiB"] > 50_000 * 784 * 4 / 2**20  # the images as floats
    assert "| linear, fresh | 1 (" in (tmp_path / "results" / "benchmark.md").read_text()
    assert (tmp_path / "results" / "benchmark.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.mnist
def test_the_benchmark_measures_every_section(mnist_root: Path, tmp_path: Path):
    sections = ["batches", "denormals", "evaluation", "bound", "whole", "startup", "estimators"]
    small = ["--steps", "50", "--blocks", "2", "--batch-sizes", "1000", "--late", "100", "--starts", "1"]
    small += ["--eval-images", "100", "--eval-samples", "50", "--nats", "200", "--val-images", "50"]
    small += ["--latents", "rloo", "--repeats", "3", "--epochs", "1"]
    report = benchmark(tmp_path, mnist_root, "--only", *sections, *small)
    assert report.keys() == {*sections, "machine"}
    for cell in report["batches"]["1000"].values():
        assert cell["images_per_second"] == pytest.approx(1e6 / cell["milliseconds"])
    assert report["denormals"]["ours"]["steps"] == 100
    evaluation = report["evaluation"]
    assert evaluation["same_draws_difference"] < 1e-3
    assert abs(evaluation["difference"]) < 6 * evaluation["standard_error"]
    assert evaluation["seconds"]["ours"] < evaluation["seconds"]["naive"]
    assert report["bound"]["reached"]
    assert report["bound"]["curve"][-1]["nll"] == report["bound"]["nll"] < 200
    assert report["bound"]["by_hand"]["nll"] < 200
    whole = report["whole"]
    assert whole["seconds"].keys() == whole["nll"].keys() == {"ours", "by_hand"}
    assert abs(whole["nll"]["ours"] - whole["nll"]["by_hand"]) < 30  # after an epoch
    startup = report["startup"]
    assert sum(startup["parts"].values()) == pytest.approx(startup["first_step"])
    assert startup["parts"]["imports"] > 0.2 * startup["imports_alone"] > 0
    assert set(report["estimators"]["rloo"]) == {"categorical", "bernoulli"}
