"""Two CPU processes that train together, as two GPUs would."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, Run, shell

pytestmark = pytest.mark.slow

DDP = [*SMALL, "trainer=ddp_sim", "trainer.log_every_n_steps=7"]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Run:
    """A run of two processes, in the folder that it makes for itself."""
    cwd = tmp_path_factory.mktemp("ddp")
    outcome = shell("train.py", *DDP, cwd=cwd)
    assert outcome.code == 0, outcome.err
    (folder,) = (cwd / "logs" / "vae_digits" / "runs").iterdir()
    return Run(folder, cwd, outcome)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_two_processes_leave_one_set_of_files(both):
    assert [path.name for path in both.cwd.iterdir()] == ["logs"]
    assert len(list(both.cwd.rglob("results.json"))) == 1
    assert len(list(both.cwd.rglob("*.png"))) == 3
    assert {path.name for path in both.cwd.rglob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


def test_two_processes_print_one_table(both):
    assert both.outcome.out.count("test/nll") == 1
    assert both.outcome.out.count("results.json") == 1


def test_each_process_takes_half_of_an_epoch(both):
    # 1,297 images: 648 each, in 7 batches where one process has 13
    assert (results(both.folder)["epochs"], results(both.folder)["steps"]) == (2, 14)


def test_metrics_are_written_once_and_over_all_images(both):
    with (both.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["val/nelbo"]] == ["6", "13"]
    assert len([row for row in rows if row["test/nll"]]) == 1


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_one_process_finds_the_same_kl_over_the_test_set(command, both):
    outcome = command("eval", f"run={both.folder}", "trainer.devices=1", "trainer.strategy=auto")
    assert outcome.code == 0, outcome.err
    (alone,) = (both.folder / "evaluations").iterdir()
    expected = results(alone)["metrics"]["test/kl"]  # in closed form, so without noise
    assert results(both.folder)["metrics"]["test/kl"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("latent", ["nvil", "relax"])
def test_what_an_estimator_learns_trains_on_two_processes(tmp_path, latent):
    outcome = shell("train.py", *DDP, f"latent={latent}", f"hydra.run.dir={tmp_path}/run", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert results(tmp_path / "run")["status"] == "completed"


def test_two_processes_do_not_warn(both):
    assert "sync_dist" not in both.outcome.err


def test_a_mistake_with_two_processes_is_one_line(tmp_path):
    outcome = shell("train.py", *DDP, "temperature.start=-1", cwd=tmp_path)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "error: temperature.start must be a number greater than 0, got -1\n"


def test_a_sweep_of_two_processes_each_is_refused_in_one_line(tmp_path):
    outcome = shell("train.py", "-m", *DDP, "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert outcome.code == 1
    assert outcome.err.startswith("error: trainer.strategy = ddp")
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.ckpt"))
