"""Sweeps on Hydra's launchers: joblib on the cores of this machine, and submitit, here by its local executor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from joblib import cpu_count

from tests.cli.conftest import ROOT, SMALL, Outcome, Run, beyond_progress, snapshot
from tests.cli.test_leaks import SECRET
from tests.helpers.witness import TESTS, WITNESS, starts

KEY = f"callbacks.service.api_key={SECRET}"
SERVICE = ["+callbacks.service._target_=tests.cli.test_leaks.Service", f"+{KEY}"]
SHORT = [*SMALL, *WITNESS, "trainer.max_epochs=1", "hydra.sweep.dir=sweep"]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def launched(cwd: Path, *words: str) -> Run:
    """A sweep on a launcher, without a number of threads in the environment."""
    command = [sys.executable, str(ROOT / "train.py"), "-m", *SHORT, *words]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | TESTS
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    return Run(cwd / "sweep", cwd, Outcome(done.returncode, done.stdout, done.stderr))


@pytest.fixture(scope="module")
def joblib(tmp_path_factory) -> Run:
    words = ["launcher=joblib", "hydra.launcher.n_jobs=2", "seed=5,-1", "trainer=cpu,ddp_sim"]
    return launched(tmp_path_factory.mktemp("joblib"), *words)


@pytest.fixture(scope="module")
def submitit(tmp_path_factory) -> Run:
    return launched(tmp_path_factory.mktemp("submitit"), "launcher=submitit_local", "seed=5,-1", *SERVICE)


def process_of(run: Run) -> dict:
    """How the first job was started, after a look at what every sweep has."""
    assert {path.name for path in run.cwd.iterdir()} == {"sweep"}
    assert results(run.folder / "0")["status"] == "completed"
    (start,) = starts(run.folder / "0")
    assert (start["seed"], start["folder"]) == (5, str(run.folder / "0"))
    return start


WRONG = "seed must be a whole number of at least 0 and below 2^32, got -1"


@pytest.mark.slow
def test_joblib_runs_jobs_in_processes_set_up_as_any_other_that_share_the_cores(joblib):
    start = process_of(joblib)
    assert (start["denormals"], start["quiet"]) == (False, True)
    assert start["threads"] == max(cpu_count() // 2, 1)


@pytest.mark.slow
def test_joblib_tells_of_jobs_that_fail_and_of_those_that_cannot_work_there(joblib):
    assert joblib.outcome.code == 1
    first, second, third = beyond_progress(joblib.outcome.err)
    assert first.startswith("error: job 1 (seed=5 trainer=ddp_sim) failed: trainer.strategy = ddp with trainer.devices")
    assert second == f"error: job 2 (seed=-1 trainer=cpu) failed: {WRONG} (sweep/2)"
    assert third.startswith("error: job 3 (seed=-1 trainer=ddp_sim) failed: trainer.strategy = ddp")
    assert "3 of 4 jobs are not completed" in joblib.outcome.out


@pytest.mark.slow
def test_submitit_runs_jobs_in_processes_set_up_as_any_other_and_tells_of_failures(submitit):
    start = process_of(submitit)
    assert (start["denormals"], start["quiet"]) == (False, True)
    assert beyond_progress(submitit.outcome.err) == [f"error: job 1 (seed=-1) failed: {WRONG} (sweep/1)"]
    assert submitit.outcome.code == 1


@pytest.mark.slow
def test_a_secret_reaches_the_jobs_of_a_launcher_and_none_of_its_files(submitit):
    log = (submitit.folder / "0" / "train.log").read_text()
    assert "as ***\n" in log
    assert "trains as ***\n" in log
    written = [path for path in submitit.cwd.rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in submitit.outcome.out + submitit.outcome.err


@pytest.mark.slow
def test_a_sweep_is_resumed_on_another_launcher(command, submitit):
    before = snapshot(submitit.folder / "0")
    outcome = command(
        *("train", "sweep.resume=sweep", "trust=[tests]", KEY, "launcher=joblib", "hydra.launcher.n_jobs=1"),
        cwd=submitit.cwd,
    )
    assert outcome.code == 1
    assert outcome.err.startswith("error: job 1 (seed=-1) failed: seed must be")
    after = snapshot(submitit.folder / "0")
    assert {name for name in after if after[name] != before.get(name)} <= {".lock"}
    assert len(starts(submitit.folder / "0")) == 1


# What cannot work


def refused(outcome: Outcome, folder: Path) -> str:
    """The one line of a sweep of which nothing ran."""
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert list(folder.iterdir()) == []
    return outcome.err


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
@pytest.mark.parametrize("trainer", ["ddp_sim", "fsdp"])
def test_several_processes_in_a_job_of_a_launcher_are_refused(command, tmp_path, launcher, trainer):
    outcome = command("train", "-m", "seed=0,1", f"trainer={trainer}", f"launcher={launcher}")
    said = refused(outcome, tmp_path)
    assert said.startswith("error: trainer.strategy = ")
    kind = {"joblib": "JoblibLauncher", "submitit_local": "LocalLauncher"}[launcher]
    assert f"starts processes, which a job of {kind} cannot" in said


@pytest.mark.parametrize(
    ("launcher", "package"), [("joblib", "hydra-joblib-launcher"), ("submitit_slurm", "hydra-submitit-launcher")]
)
def test_a_launcher_that_is_not_installed_is_named(command, monkeypatch, tmp_path, launcher, package):
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{launcher}.yaml")
    said = refused(command("train", "-m", "seed=0,1", f"launcher={launcher}"), tmp_path)
    assert said == (f"error: launcher needs {package}, which is not installed: pip install 'discrete-latents[sweep]'\n")


def test_a_mistake_in_a_launcher_is_one_line(command, tmp_path):
    said = refused(command("train", "-m", "seed=0,1", "launcher=joblib", "hydra.launcher.n_job=2"), tmp_path)
    assert "n_job" in said
