"""`python train.py` from outside: what a run leaves, and that it can be repeated."""

import csv
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import ROOT, SMALL, Run, beyond_progress, forked, same_bits, shell, weights

STAMP = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}"
STEPS = 2 * 13  # two epochs of 1,297 images in batches of 100

EVALUATED = ("nelbo", "relaxed_nelbo", "reconstruction", "kl", "code_usage", "perplexity")
EACH_EPOCH = ("temperature", "learning_rate", "images_per_second")
RESULTS = (
    "experiment",
    "seed",
    "model",
    "network",
    "latent",
    "data",
    "metrics",
    "eval_samples",
    "epochs",
    "steps",
    "checkpoint",
    "command",
    "learning_rate",
    "tested",
    "seconds",
    "total_seconds",
    "train_images_per_second",
    "parameters",
    "compiled",
    "versions",
    "git",
    "status",
    "optimized",
)


@pytest.fixture(scope="module")
def again(finished, tmp_path_factory) -> Run:
    """The same run once more, in the folder that a run makes for itself."""
    cwd = tmp_path_factory.mktemp("again")
    outcome = shell("train.py", *SMALL, cwd=cwd)
    assert outcome.code == 0, outcome.err
    (folder,) = (cwd / "logs" / "vae_digits" / "runs").iterdir()
    return Run(folder, cwd, outcome)


@pytest.fixture(scope="module")
def sweep(finished, tmp_path_factory) -> Run:
    """Two seeds, one after the other, by --multirun."""
    cwd = tmp_path_factory.mktemp("sweep")
    outcome = forked("train.py", "-m", "seed=0,1", *SMALL, cwd=cwd)
    assert outcome.code == 0, outcome.err
    (folder,) = (cwd / "logs" / "vae_digits" / "multiruns").iterdir()
    return Run(folder, cwd, outcome)


def rows(run: Run) -> list[dict[str, float]]:
    """The rows of metrics.csv, without their empty cells."""
    with (run.folder / "metrics.csv").open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def results(folder) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_run_leaves_its_files_and_no_others(finished):
    files = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    names = ("reconstructions", "samples", "classes", "code_use")
    pictures = {f"images/{name}.{kind}" for name in names for kind in ("png", "pdf")}
    saved = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}
    checkpoints = {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert files - {"train.log", ".lock"} == pictures | saved | checkpoints | {
        "metrics.csv",
        "results.json",
        "report.html",
    }


def test_a_run_writes_nothing_where_it_was_started(finished):
    assert list(finished.cwd.iterdir()) == []


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_checkpoint_loads_without_unpickling_code(finished, which):
    state = weights(finished.folder / "checkpoints" / f"{which}.ckpt")
    assert {"prior_logits", "mean_image", "output_bias"} <= state.keys()
    assert all(value.isfinite().all() for value in state.values())


def test_metrics_csv_has_every_metric_of_training_validation_and_test(finished):
    columns = set().union(*rows(finished))
    expected = {f"{split}/{name}" for split in ("val", "test") for name in EVALUATED}
    assert (
        expected
        | {"step", "epoch", "train/relaxed_nelbo", "test/nll", "temperature", "learning_rate", "images_per_second"}
        == columns
    )


def test_metrics_csv_goes_forward_in_finite_numbers(finished):
    table = rows(finished)
    assert all(math.isfinite(value) for row in table for value in row.values())
    assert [row["step"] for row in table] == sorted(row["step"] for row in table)
    assert [row["step"] for row in table if "val/nelbo" in row] == [12, 25]
    assert [row["step"] for row in table if "train/relaxed_nelbo" in row] == [12, 25]


def test_logged_metrics_keep_their_identities(finished):
    for row in rows(finished):
        for split in ("val", "test"):
            if f"{split}/nelbo" in row:
                assert row[f"{split}/nelbo"] == pytest.approx(row[f"{split}/reconstruction"] + row[f"{split}/kl"])
                assert 0 < row[f"{split}/code_usage"] <= 1 <= row[f"{split}/perplexity"] <= 4
    assert 0 < rows(finished)[-1]["test/nll"] <= rows(finished)[-1]["test/nelbo"]


@pytest.mark.parametrize("name", ["reconstructions", "samples", "classes"])
def test_a_picture_shows_something(finished, name):
    pixels = np.asarray(Image.open(finished.folder / "images" / f"{name}.png").convert("RGB"))
    assert min(pixels.shape[:2]) >= 56
    assert len(np.unique(pixels)) > 10
    assert np.ptp(pixels) > 100


def test_results_json_has_every_key(finished):
    written = results(finished.folder)
    assert written.keys() == set(RESULTS)
    assert written["experiment"] == "vae_digits"
    assert written["latent"] == "gumbel_softmax"
    assert written["data"] == {"name": "digits", "binarization": "fixed"}
    assert written["seed"] == 0
    assert written["eval_samples"] == 20
    assert (written["epochs"], written["steps"]) == (2, STEPS)
    assert written["status"] == "completed"
    assert written["seconds"] > 0
    assert written["train_images_per_second"] > 0
    assert written["metrics"].keys() == {"test/nll", *(f"test/{name}" for name in EVALUATED)}
    assert {"python", "torch", "lightning", "hydra-core", "discrete-latents"} <= written["versions"].keys()


def test_results_json_counts_the_parameters_that_train(finished):
    last = weights(finished.folder / "checkpoints" / "last.ckpt")
    trained = [value for name, value in last.items() if "coder." in name or name == "prior_logits"]
    assert results(finished.folder)["parameters"] == sum(value.numel() for value in trained)


def test_results_json_and_metrics_csv_agree(finished):
    assert rows(finished)[-1] == pytest.approx(rows(finished)[-1] | results(finished.folder)["metrics"])


def test_stdout_is_the_closing_table_and_paths_that_exist(finished):
    table, _, paths = finished.outcome.out.rpartition("┘")
    for word in ("vae_digits · gumbel_softmax · digits, fixed", "test/nll", "m = 20", "2 epochs, 26 steps"):
        assert word in table
    named = [finished.cwd / line for line in paths.split("\n") if line]
    assert all(path.exists() for path in named)
    assert {path.name for path in named} >= {"results.json", "metrics.csv", "checkpoints", "reconstructions.png"}


def test_stderr_has_progress_and_nothing_else(finished):
    assert "epoch 2/2" in finished.outcome.err
    assert beyond_progress(finished.outcome.err) == []


def test_a_run_makes_its_own_folder_stamped_to_the_microsecond(again):
    assert re.fullmatch(STAMP, again.folder.name)
    assert [path.name for path in again.cwd.iterdir()] == ["logs"]
    *_, paths = again.outcome.out.rpartition("┘")
    assert f"logs/vae_digits/runs/{again.folder.name}/results.json" in paths.split("\n")


def test_the_same_seed_gives_the_same_weights_to_the_bit(finished, again):
    for which in ("best", "last"):
        first, second = (weights(run.folder / "checkpoints" / f"{which}.ckpt") for run in (finished, again))
        assert same_bits(first, second)
    assert results(finished.folder)["metrics"] == results(again.folder)["metrics"]


def test_a_sweep_gives_every_job_a_folder_and_its_results(sweep):
    assert re.fullmatch(STAMP, sweep.folder.name)
    assert [results(sweep.folder / str(seed))["seed"] for seed in (0, 1)] == [0, 1]
    assert sweep.outcome.out.count("test/nll") == 2


def test_a_job_of_a_sweep_is_the_run_it_would_be_alone(finished, sweep):
    job, alone = (weights(folder / "checkpoints" / "last.ckpt") for folder in (sweep.folder / "0", finished.folder))
    assert same_bits(job, alone)


def test_another_seed_gives_other_weights(sweep):
    first, second = (weights(sweep.folder / name / "checkpoints" / "last.ckpt") for name in ("0", "1"))
    trained = [name for name in first if name.endswith("weight")]
    assert trained
    assert not any(torch.equal(first[name], second[name]) for name in trained)


def test_help_lists_every_group_and_experiment(command):
    outcome = command("train", "--help")
    assert outcome.code == 0
    experiments = sorted(path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml"))
    assert f"experiment: {', '.join(experiments)}\n" in outcome.out
    for group in ("data", "latent", "model", "model/network", "optimizer", "temperature", "trainer"):
        assert re.search(rf"^{group}: \w+", outcome.out, re.MULTILINE)
    assert "temperature:\n" in outcome.out


@pytest.mark.slow
def test_overfitting_learns(tmp_path):
    outcome = shell("train.py", "debug=overfit", "optimizer.lr=3e-3", f"hydra.run.dir={tmp_path}/run", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    table = rows(Run(tmp_path / "run", tmp_path, outcome))
    learned = [row["train/relaxed_nelbo"] for row in table if "train/relaxed_nelbo" in row]
    assert len(learned) == 100
    assert learned[-1] < learned[0] - 1.5


@pytest.mark.slow
def test_the_profiler_says_where_the_time_goes(tmp_path):
    outcome = shell("train.py", "debug=profiler", f"hydra.run.dir={tmp_path}/run", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "run_training_epoch" in outcome.out + outcome.err


@pytest.mark.slow
def test_an_estimator_that_cannot_be_compiled_says_so_and_trains(tmp_path):
    outcome = shell(
        "train.py", *SMALL, "latent=relax", "debug=one_batch", "compile=true", "hydra.run.dir=run", cwd=tmp_path
    )
    assert outcome.code == 0, outcome.err
    assert "not compiled: Relax differentiates within a step" in outcome.out + outcome.err


@pytest.mark.slow
def test_a_missing_compiler_is_one_line(tmp_path):
    words = ["compile=true", "model.num_latents=7", f"hydra.run.dir={tmp_path}/run"]
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "CXX": "/nonexistent"}
    outcome = shell("train.py", *words, cwd=tmp_path, **caches)
    assert outcome.code == 1
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("error"))
    assert "compile = true: CategoricalVAE with GumbelSoftmax cannot be compiled here" in line
    assert "Traceback" not in outcome.err
