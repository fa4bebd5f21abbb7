"""Sweeps: what every job leaves, jobs that fail, and sweeps that are stopped and finished."""

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from discrete_latents.sweep.job import log as job_log
from tests.cli.conftest import ROOT, SMALL, Run, beyond_progress, forked, same_bits, shell, snapshot, weights
from tests.helpers.witness import HELD, TESTS, WITNESS, starts

SHORT = [*SMALL, "trainer.max_epochs=1", "callbacks.pictures.every_n_epochs=0"]
LATENTS = ("gumbel_softmax", "st_gumbel", "rloo")
JOBS = [f"{latent} {seed}" for latent in LATENTS for seed in (0, 1)]
EPOCHS = 4


def results(folder: Path) -> dict:
    file = folder / "results.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def statuses(sweep: Path) -> list[str | None]:
    return [results(sweep / str(number)).get("status") for number in range(len(JOBS))]


# A sweep that is stopped


def stopped(words: list[str], cwd: Path, job: int, how: signal.Signals) -> tuple[int, str]:
    """Runs a command line until a job has trained for two epochs, then sends its process a signal. Returns its code
    and its stderr."""
    hold = cwd.parent / "hold"
    hold.write_text(str(job))
    environment = os.environ | TESTS | {"OMP_NUM_THREADS": "1", "HOLD": str(hold)}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    process = subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 200
    held = Path(f"{hold}.held")
    while not held.exists():
        assert process.poll() is None, "the sweep ended too early"
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(how)
    held.unlink()
    _, errors = process.communicate(timeout=60)
    assert not results(cwd / "sweep" / str(job)), "the job was faster than the signal"
    return process.returncode, errors.decode()


@pytest.fixture(scope="module")
def finished_sweep(tmp_path_factory) -> Run:
    """Three latents by two seeds, stopped by Ctrl-C in the first job, killed in the fourth, then finished."""
    cwd = tmp_path_factory.mktemp("stopped")
    sweep, saved = cwd / "sweep", {}
    words = [*SMALL, *WITNESS, HELD, f"trainer.max_epochs={EPOCHS}", f"latent={','.join(LATENTS)}", "seed=0,1"]
    code, errors = stopped(["-m", *words, "hydra.sweep.dir=sweep"], cwd, 0, signal.SIGINT)
    (said,) = beyond_progress(errors)
    assert (code, said) == (1, "error: interrupted; to go on: python train.py sweep.resume=sweep 'trust=[tests]'")
    assert statuses(sweep) == [None] * 6
    code, _ = stopped(["sweep.resume=sweep", "trust=[tests]"], cwd, 3, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert statuses(sweep) == ["completed"] * 3 + [None] * 3
    for number in range(3):
        saved |= {number: snapshot(sweep / str(number))}
    outcome = shell("train.py", "sweep.resume=sweep", "trust=[tests]", cwd=cwd, **TESTS)
    assert outcome.code == 0, outcome.err
    for number, files in saved.items():
        changed = {name for name, file in snapshot(sweep / str(number)).items() if files.get(name) != file}
        assert not changed - {".lock"}, f"job {number} was completed, and its files changed"
    return Run(sweep, cwd, outcome)


@pytest.mark.slow
def test_a_sweep_that_was_stopped_is_finished_with_all_its_jobs(finished_sweep):
    assert {path.name for path in finished_sweep.cwd.iterdir()} == {"sweep"}
    assert {path.name for path in finished_sweep.folder.iterdir()} == {*"012345", "multirun.yaml", "sweep.lock"}
    assert statuses(finished_sweep.folder) == ["completed"] * 6
    jobs = [results(finished_sweep.folder / str(number)) for number in range(6)]
    assert [f"{job['latent']} {job['seed']}" for job in jobs] == JOBS
    assert {(job["epochs"], job["steps"]) for job in jobs} == {(EPOCHS, EPOCHS * 13)}


@pytest.mark.slow
def test_no_job_of_a_stopped_sweep_runs_twice(finished_sweep):
    """The two that were stopped went on where they were."""
    begun = [[start["step"] for start in starts(finished_sweep.folder / str(number))] for number in range(6)]
    for number in (1, 2, 4, 5):
        assert begun[number] == [0]
    for number in (0, 3):
        first, second = begun[number]
        assert (first, second % 13, second > 0) == (0, 0, True)
        header, *rows = (finished_sweep.folder / str(number) / "metrics.csv").read_text().splitlines()
        table = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
        validated = Counter(row["step"] for row in table if row["val/nelbo"])
        assert set(validated.values()) == {1}
        assert len(validated) == EPOCHS


@pytest.mark.slow
def test_a_job_that_was_killed_is_the_run_it_would_be_alone(finished_sweep, command, tmp_path):
    words = [*SMALL, f"trainer.max_epochs={EPOCHS}", "latent=st_gumbel", "seed=1", f"hydra.run.dir={tmp_path}/alone"]
    assert command("train", *words).code == 0
    job = finished_sweep.folder / "3"
    for which in ("last", "best"):
        assert same_bits(*(weights(folder / "checkpoints" / f"{which}.ckpt") for folder in (job, tmp_path / "alone")))
    assert results(job)["metrics"] == results(tmp_path / "alone")["metrics"]


@pytest.mark.slow
def test_a_sweep_closes_with_a_table_of_its_jobs(finished_sweep):
    table = finished_sweep.outcome.out[finished_sweep.outcome.out.rindex("settings") :].splitlines()
    rows = [line for line in table if "completed" in line]
    for number, (row, job) in enumerate(zip(rows, JOBS, strict=True)):
        latent, seed = job.split()
        nll = results(finished_sweep.folder / str(number))["metrics"]["test/nll"]
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert cells[:3] == [str(number), f"latent={latent} seed={seed}", f"{nll:.2f}"]


# Jobs that fail


def failing(command, folder: Path, *words: str) -> list[str]:
    """Runs a sweep of which something fails, and gives its lines of error."""
    outcome = command("train", "-m", *SHORT, *words, f"hydra.sweep.dir={folder}")
    assert outcome.code == 1
    return [line for line in outcome.err.splitlines() if line.startswith("error: ")]


def test_a_job_that_fails_is_told_of_at_the_end_and_the_others_go_on(command, tmp_path):
    sweep = tmp_path / "sweep"
    estimators = "discrete_latents.latent.GumbelSoftmax,tests.helpers.witness.Broken"
    first, second, third = failing(command, sweep, f"latent._target_={estimators}", "seed=0,-1")
    wrong = "seed must be a whole number of at least 0 and below 2^32, got -1"
    assert (
        first
        == f"error: job 1 (latent._target_=discrete_latents.latent.GumbelSoftmax seed=-1) failed: {wrong} ({sweep}/1)"
    )
    assert second == (
        "error: job 2 (latent._target_=tests.helpers.witness.Broken seed=0) failed: "
        f"ZeroDivisionError: nothing to divide by ({sweep}/2)"
    )
    assert third.endswith(f"failed: {wrong} ({sweep}/3)")
    assert statuses(sweep)[:4] == ["completed", "failed", "failed", "failed"]
    assert results(sweep / "2") == {
        "experiment": "vae_digits",
        "latent": "gumbel_softmax",
        "model": "categorical_vae",
        "network": "mlp",
        "seed": 0,
        "status": "failed",
        "error": "ZeroDivisionError: nothing to divide by",
    }
    assert "Traceback" in (sweep / "2" / "train.log").read_text()


def test_what_is_wrong_with_every_job_is_one_line(command, tmp_path):
    assert failing(command, tmp_path / "bad value", "seed=0,1", "temperature.start=-1") == [
        "error: all 2 jobs failed: temperature.start must be a number greater than 0, got -1"
    ]
    assert failing(command, tmp_path / "bad name", "seed=0,1", "lr=0.1") == [
        "error: lr is not a setting: did you mean optimizer.lr?"
    ]
    assert failing(command, tmp_path / "bad option", "seed=0,1", "latent=st_gumbel,gumbel") == [
        "error: latent = gumbel is not an option: did you mean st_gumbel or gumbel_rao or gumbel_softmax?"
    ]
    assert not list(tmp_path.rglob("*.ckpt"))


def test_failed_jobs_run_again_when_a_sweep_is_resumed(command, tmp_path):
    sweep, data = tmp_path / "sweep", tmp_path / "data"
    data.write_text("in the way")
    (error,) = failing(command, sweep, "data=digits,mnist", f"paths.data_dir={data}")
    assert "job 1 (data=mnist) failed" in error
    (sweep / "1" / "metrics.csv").write_text("step,val/nelbo\n0,7.0\n")  # of an attempt that got further
    before = snapshot(sweep / "0")
    outcome = command("train", f"sweep.resume={sweep}")
    assert outcome.code == 1
    assert outcome.err.startswith("error: job 1 (data=mnist) failed: data.name = mnist")
    assert f"sweep.resume={sweep}" in outcome.out
    assert not (sweep / "1" / "metrics.csv").exists()
    assert snapshot(sweep / "0") == before


# What a sweep refuses, and waits for


@pytest.fixture(scope="module")
def small_sweep(tmp_path_factory) -> Path:
    """Two completed jobs. Tests copy nothing, and change nothing."""
    cwd = tmp_path_factory.mktemp("small")
    outcome = forked("train.py", "-m", *SHORT, "seed=0,1", "hydra.sweep.dir=a_sweep", cwd=cwd)
    assert outcome.code == 0, outcome.err
    return cwd / "a_sweep"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.resume=nowhere"], "sweep.resume = nowhere is not the directory of a sweep: it has no multirun.yaml"),
        (["sweep.resume=a_sweep/0"], "sweep.resume = a_sweep/0 is not the directory of a sweep"),
        (["sweep.resume=a_sweep", "seed=3"], "seed=3: a sweep keeps its own settings; only how it is launched can"),
        (["-m", "sweep.resume=a_sweep", "latent=rloo"], "latent=rloo: a sweep keeps its own settings"),
        (
            ["-m", "hydra.sweep.dir=a_sweep", "seed=2,3"],
            "hydra.sweep.dir = a_sweep holds a sweep already; name another",
        ),
        (["-m", "resume=a_sweep/0", "seed=2,3"], "resume = a_sweep/0 goes on with one run, and -m starts many"),
    ],
    ids=str,
)
def test_what_a_sweep_refuses_is_one_line_and_nothing_is_touched(command, small_sweep, words, said):
    before = snapshot(small_sweep.parent)
    outcome = command("train", *words, cwd=small_sweep.parent)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert outcome.err.startswith(f"error: {said}")
    assert snapshot(small_sweep.parent) == before


def test_a_sweep_whose_options_have_changed_is_refused(command, small_sweep, tmp_path):
    sweep = shutil.copytree(small_sweep, tmp_path / "sweep")
    saved = (sweep / "multirun.yaml").read_text()
    assert "- seed=0,1" in saved
    (sweep / "multirun.yaml").write_text(saved.replace("- seed=0,1", "- seed=1,0"))
    outcome = command("train", f"sweep.resume={sweep}")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert f"{sweep}/0 was started with" in outcome.err
    assert "which is not job 0 any more" in outcome.err


def test_a_job_that_another_process_runs_is_waited_for(command, small_sweep, tmp_path, request):
    """As those of a launcher, whose processes survive that of the sweep."""
    sweep = shutil.copytree(small_sweep, tmp_path / "sweep")
    done = (sweep / "1" / "results.json").read_text()
    (sweep / "1" / "results.json").unlink()

    class Other(logging.Handler):
        """Comes to its end as soon as it is waited for."""

        def emit(self, record: logging.LogRecord) -> None:
            (sweep / "1" / "results.json").write_text(done)
            lock.close()

    lock = (sweep / "1" / ".lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    logger, other = job_log, Other()
    logger.addHandler(other)
    request.addfinalizer(lambda: logger.removeHandler(other))
    before = snapshot(sweep / "1" / "checkpoints")
    outcome = command("train", f"sweep.resume={sweep}")
    assert outcome.code == 0, outcome.err
    assert f"waiting for another process that runs the job in {sweep}/1" in outcome.err
    assert snapshot(sweep / "1" / "checkpoints") == before
