"""Processes that train together: two on the CPU, as two GPUs would, alone and in the jobs of a sweep."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from discrete_latents.config.compose import composed
from discrete_latents.config.instantiate import make
from discrete_latents.runs.directory import RunDirectory
from tests.cli.conftest import ROOT, SMALL, Run, shell, weights
from tests.helpers.witness import TESTS, WITNESS, starts

pytestmark = pytest.mark.slow

DDP = [*SMALL, "trainer=ddp_sim", "trainer.log_every_n_steps=7"]
ONE_PROCESS = ["trainer.devices=1", "trainer.strategy=auto"]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Run:
    """A sweep of two jobs of two processes each, whose estimators learn, in the folder that it makes for itself."""
    cwd = tmp_path_factory.mktemp("ddp")
    outcome = shell("train.py", "-m", *DDP, *WITNESS, "latent=nvil,relax", "seed=4", cwd=cwd, **TESTS)
    assert outcome.code == 0, outcome.err
    (folder,) = (cwd / "logs" / "vae_digits" / "multiruns").iterdir()
    return Run(folder, cwd, outcome)


@pytest.fixture
def jobs(both) -> list[Path]:
    return [both.folder / "0", both.folder / "1"]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def evaluation(run: Path) -> dict[str, float]:
    """The metrics of the newest evaluation of a run."""
    return results(max((run / "evaluations").iterdir()))["metrics"]


def test_two_processes_leave_one_set_of_files(both, jobs):
    assert [path.name for path in both.cwd.iterdir()] == ["logs"]
    assert {path.name for path in both.folder.iterdir()} == {"0", "1", "multirun.yaml", "sweep.lock"}
    for job in jobs:
        assert len(list(job.rglob("results.json"))) == 1
        assert len(list(job.rglob("*.png"))) == 4
        assert {path.name for path in job.rglob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
        assert {path.name for path in job.rglob("*.log")} == {"train.log"}


def test_two_processes_print_one_table_and_do_not_warn(both):
    assert both.outcome.out.count("│ test/nll") == 2  # one a job
    assert "sync_dist" not in both.outcome.err


def test_each_process_takes_half_of_an_epoch(jobs):
    # 1,297 images: 648 each, in 7 batches where one process has 13
    for job in jobs:
        found = results(job)
        assert (found["status"], found["epochs"], found["steps"]) == ("completed", 2, 14)


@pytest.mark.parametrize("job", [0, 1])
def test_metrics_are_written_once(jobs, job):
    with (jobs[job] / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["val/nelbo"]] == ["6", "13"]
    assert len([row for row in rows if row["test/nll"]]) == 1


def test_processes_start_from_the_same_weights_and_differ_in_noise_and_images(jobs):
    first, second = starts(jobs[0])
    assert (first["rank"], second["rank"]) == (0, 1)
    assert first["weights"] == second["weights"]
    assert first["noise"] != second["noise"]
    assert first["image"] != second["image"]


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_one_process_finds_the_same_metrics(command, jobs):
    """The 250 test images are one batch: the second process had none."""
    assert command("eval", f"run={jobs[0]}", "trust=[tests]", *ONE_PROCESS).code == 0
    assert results(jobs[0])["metrics"] == pytest.approx(evaluation(jobs[0]), rel=1e-5)


def test_three_processes_find_the_same_metrics_in_batches_of_unequal_size(command, tmp_path):
    """Batches of 40 and a last one of 10; 250 images do not go evenly into three processes."""
    run = tmp_path / "run"
    words = ["experiment=ssl_digits", "trainer.max_epochs=1", "eval_samples=5", "data.eval_batch_size=40"]
    assert command("train", *words, f"hydra.run.dir={run}").code == 0
    outcome = shell("eval.py", f"run={run}", "trainer.devices=3", "+trainer.strategy=ddp", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert evaluation(run) == pytest.approx(results(run)["metrics"], rel=1e-5)
    (pictures,) = (run / "evaluations").glob("*/images")
    assert {path.name for path in pictures.glob("*.png")} == {
        *("classes.png", "styles.png", "confusion.png", "code_use.png")
    }


def test_two_halves_of_a_batch_give_the_gradient_of_the_whole(command, tmp_path):
    words = [*SMALL, "latent._target_=tests.helpers.witness.FixedNoise", "optimizer=sgd", "optimizer.lr=1.0"]
    words += ["trainer.max_epochs=1", "+trainer.limit_train_batches=1", "trainer.log_every_n_steps=1"]
    for name, change in (("nothing", ["optimizer.lr=1e-30"]), ("whole", []), ("other", ["data.seed=1"])):
        assert command("train", *words, *change, f"hydra.run.dir={tmp_path}/{name}").code == 0
    halves = ["trainer=ddp_sim", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "data.batch_size=50"]
    outcome = shell("train.py", *words, *halves, f"hydra.run.dir={tmp_path}/halves", cwd=tmp_path, **TESTS)
    assert outcome.code == 0, outcome.err
    whole, parts, other = (
        weights(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "halves", "other")
    )
    start = weights(tmp_path / "nothing" / "checkpoints" / "last.ckpt")
    trained = [name for name in whole if name.endswith(("weight", "bias", "logits"))]
    gradient = torch.cat([(start[name] - whole[name]).flatten() for name in trained])
    assert gradient.norm() > 0.1
    difference = torch.cat([(parts[name] - whole[name]).flatten() for name in trained])
    assert difference.norm() < 1e-5 * gradient.norm()
    elsewhere = torch.cat([(other[name] - whole[name]).flatten() for name in trained])
    assert elsewhere.norm() > 1e-2 * gradient.norm()  # of other images


def test_every_job_of_a_sweep_gives_both_processes_its_own_settings(jobs):
    for job, estimator in zip(jobs, ("Reinforce", "Relax"), strict=True):
        given = starts(job)
        assert [start["rank"] for start in given] == [0, 1]
        assert {start["folder"] for start in given} == {str(job)}
        assert {start["estimator"] for start in given} == {estimator}
        assert {start["seed"] for start in given} == {4}
        assert len({start["weights"] for start in given}) == 1
        assert len({start["noise"] for start in given}) == 2


def test_a_job_of_two_processes_goes_on_when_its_sweep_is_resumed(jobs):
    """As if the sweep had been killed in its second job, after training."""
    (jobs[1] / "results.json").rename(jobs[1] / "earlier.json")
    outcome = shell("train.py", f"sweep.resume={jobs[0].parent}", "trust=[tests]", cwd=jobs[0].parents[4], **TESTS)
    assert outcome.code == 0, outcome.err
    assert results(jobs[1])["metrics"] == json.loads((jobs[1] / "earlier.json").read_text())["metrics"]
    assert [len(starts(job)) for job in jobs] == [2, 2]


def test_torchrun_starts_the_processes_of_a_run(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*DDP, *WITNESS, "trainer.max_epochs=1", "hydra.run.dir=run"]
    subprocess.run([*torchrun, str(ROOT / "train.py"), *words], cwd=tmp_path, env=os.environ | TESTS, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert results(tmp_path / "run")["steps"] == 7
    assert [start["rank"] for start in starts(tmp_path / "run")] == [0, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "hydra.run.dir must be given where torchrun or srun starts 2 processes"),
        (["-m", "seed=0,1"], "a sweep is not started by torchrun or srun; launcher=submitit_slurm runs its jobs"),
    ],
)
def test_processes_that_would_write_apart_from_each_other_do_not_start(command, monkeypatch, tmp_path, words, said):
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    outcome = command("train", *DDP, *words)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith(f"error: {said}")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_with_two_processes_is_one_line(command):
    """Found before the second is started."""
    outcome = command("train", *DDP, "temperature.start=-1")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "error: temperature.start must be a number greater than 0, got -1\n"


def test_fsdp_is_composed_and_its_strategy_built():
    """It cannot run without a GPU."""
    config = composed(["trainer=fsdp"])
    assert make(config.trainer, "strategy")._state_dict_type == "full"
    assert (config.trainer.accelerator, config.trainer.devices) == ("gpu", -1)


def test_changes_on_resume_reach_all_processes_and_are_written_once(finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    words = ["trainer.max_epochs=3", "trainer.devices=2", "+trainer.strategy=ddp", "~callbacks.pictures"]
    outcome = shell("train.py", "resume=run", *words, cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    config = RunDirectory(run).read_config()
    (record,) = config.resumed
    assert (record.step, config.trainer.devices, config.trainer.strategy) == (26, 2, "ddp")
    assert set(record.changes) == {"trainer.max_epochs", "trainer.devices", "trainer.strategy", "callbacks.pictures"}
    assert json.loads((run / "results.json").read_text())["epochs"] == 3
