"""A sweep has one folder, in which each of its jobs has one."""

import json
import shutil

import pytest

from discrete_latents.runs.directory import RunDirectory
from tests.cli.conftest import SMALL

ONE = [*SMALL, "debug=one_batch"]


@pytest.mark.parametrize("folder", ["sweep/${seed}", "${data.name}/sweep", "${hydra:job.num}"])
def test_a_folder_of_the_sweep_that_differs_by_job_is_refused_before_any_starts(command, tmp_path, folder):
    varied = "data.name=digits,mnist" if "data" in folder else "seed=0,1"
    outcome = command("train", "-m", *ONE, varied, f"hydra.sweep.dir={folder}")
    assert outcome.code == 1
    assert outcome.err.startswith("error: hydra.sweep.dir")
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_sweep_over_experiments_has_one_folder(command, tmp_path):
    outcome = command("train", "-m", "experiment=vae_digits,sbn_digits", "debug=one_batch")
    assert outcome.code == 0, outcome.err
    assert len(list(tmp_path.rglob("results.json"))) == 2
    assert len(list(tmp_path.rglob("multirun.yaml"))) == 1


def test_a_job_that_was_killed_after_its_results_gets_its_pictures(command, tmp_path):
    words = ["-m", *ONE, "seed=0,1", "hydra.sweep.dir=sweep", "callbacks.pictures.every_n_epochs=1"]
    assert command("train", *words).code == 0
    job, other = (RunDirectory(tmp_path / "sweep" / name) for name in "01")
    before, drawn = json.loads(job.results.read_text()), sorted(path.name for path in job.images.glob("*.png"))
    assert drawn
    shutil.rmtree(job.images)
    job.holder.write_text("process 7\n")  # which a kill leaves
    stands = other.results.stat().st_mtime_ns
    outcome = command("train", "sweep.resume=sweep")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in job.images.glob("*.png")) == drawn
    assert json.loads(job.results.read_text())["metrics"] == before["metrics"]
    assert other.results.stat().st_mtime_ns == stands
    assert not job.holder.exists()
