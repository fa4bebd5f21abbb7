"""Loggers: Weights & Biases read back by its own reader, TensorBoard by its own, and none at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cli.conftest import SMALL, shell

METRICS = {
    "train/relaxed_nelbo",
    "temperature",
    "images_per_second",
    "test/nll",
    *(
        f"{split}/{name}"
        for split in ("val", "test")
        for name in ("nelbo", "relaxed_nelbo", "reconstruction", "kl", "code_usage", "perplexity")
    ),
}
PICTURES = ("reconstructions", "samples", "classes")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> list[Path]:
    """Two jobs of one sweep, with every logger."""
    cwd = tmp_path_factory.mktemp("loggers")
    words = ["logger=[csv,wandb,tensorboard]", "logger.wandb.offline=true", "hydra.sweep.dir=sweep", "seed=0,1"]
    caches = {name: str(cwd / "caches") for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
    outcome = shell("train.py", "-m", *SMALL, *words, cwd=cwd, **caches)
    assert outcome.code == 0, outcome.err
    return [cwd / "sweep" / "0", cwd / "sweep" / "1"]


def offline_run(job: Path) -> Path:
    """The folder of the one W&B run of a job."""
    (only,) = (job / "wandb").glob("offline-run-*")
    return only


def inspect(job: Path, *options: str) -> str:
    """What W&B's own reader finds."""
    wandb = Path(sys.executable).with_name("wandb")
    command = [str(wandb), "leet", "inspect", "--json", *options, str(offline_run(job))]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def summary(jobs) -> dict:
    return json.loads(inspect(jobs[0], "--summary"))


def test_wandb_has_the_whole_configuration_resolved(summary, jobs):
    config = summary["config"]
    assert config["seed"] == 0
    assert config["model"]["num_latents"] == 3
    assert config["model"]["hidden"] == [16]
    assert config["latent"]["_target_"] == "discrete_latents.latent.GumbelSoftmax"
    assert config["latent"]["temperature"] == config["temperature"]
    assert config["paths"]["output_dir"] == str(jobs[0])
    assert "${" not in json.dumps(config)


def test_wandb_has_every_metric_and_closes_the_run(summary):
    assert summary["summary"].keys() >= METRICS
    assert summary["state"] == "finished"
    assert summary["exit_code"] == 0


def test_wandb_has_the_history_of_every_epoch(jobs):
    records = [json.loads(line) for line in inspect(jobs[0]).splitlines()]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [row["trainer/global_step"] for row in history if "val/nelbo" in row] == [12, 25]
    assert len([row for row in history if "test/nll" in row]) == 1


def test_wandb_has_the_pictures_as_files(summary, jobs):
    for name in PICTURES:
        (file,) = summary["summary"][f"images/{name}"]["filenames"]
        logged, written = offline_run(jobs[0]) / "files" / file, jobs[0] / "images" / f"{name}.png"
        with Image.open(logged) as first, Image.open(written) as second:
            assert first.size == second.size


def test_every_job_of_a_sweep_is_a_wandb_run_of_its_own(summary, jobs):
    other = json.loads(inspect(jobs[1], "--summary"))
    assert other["run_id"] != summary["run_id"]
    assert other["config"]["seed"] == 1
    assert other["state"] == "finished"


def test_tensorboard_has_every_metric_and_picture(jobs):
    events = EventAccumulator(str(jobs[0] / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["scalars"]) >= METRICS
    assert set(events.Tags()["images"]) == {f"images/{name}" for name in PICTURES}
    results = json.loads((jobs[0] / "results.json").read_text())
    assert events.Scalars("test/nll")[-1].value == pytest.approx(results["metrics"]["test/nll"])
    assert [event.step for event in events.Scalars("val/nelbo")] == [12, 25]


def test_no_logger_at_all(command, tmp_path):
    outcome = command("train", "debug=one_batch", *SMALL, "logger=[]", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / "results.json").is_file()
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_tensorboard_alone(command, tmp_path):
    outcome = command("train", "debug=one_batch", *SMALL, "logger=[tensorboard]", f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
