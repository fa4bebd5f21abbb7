"""Nothing that is said to a person changes what is recorded, or makes a command fail."""

import os
import subprocess
import sys

import pytest

from discrete_latents import cli
from tests.cli.conftest import ROOT, SMALL
from tests.cli.test_multirun import results
from tests.helpers.tables import rest_is_slow

ONE = [*SMALL, "debug=one_batch", "callbacks.pictures.every_n_epochs=0"]
SWEEP = ["-m", *ONE, "seed=0,1", "hydra.sweep.dir=é"]

ERRORS = [
    UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)"),
    BrokenPipeError(),
    ValueError("I/O operation on closed file"),
    SystemExit(3),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("error", rest_is_slow(ERRORS, 1), ids=repr)
def test_a_job_whose_results_cannot_be_shown_is_completed(command, monkeypatch, tmp_path, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(cli, "show_once", refuse)
    outcome = command("train", *SWEEP)
    assert outcome.code == 0, outcome.err
    for job in "01":
        recorded = results(tmp_path / "é" / job)
        assert recorded["status"] == "completed"
        assert "test/nll" in recorded["metrics"]
    assert "after its test, whose results stand: job 1: " in outcome.err


def test_a_job_that_is_stopped_while_its_results_are_shown_is_completed(command, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "show_once", stop)
    outcome = command("train", *SWEEP)
    assert (outcome.code, outcome.err.splitlines()[-1][:19]) == (1, "error: interrupted;")
    assert results(tmp_path / "é" / "0")["status"] == "completed"


@pytest.mark.slow
def test_a_job_fails_that_fails_before_its_test(command, monkeypatch, tmp_path):
    """Where a job was resumed, the results that stand are not those of its former end."""
    assert command("train", *SWEEP).code == 0
    (tmp_path / "é" / "0" / "results.json").write_text('{"status": "failed"}')

    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "train", fail)
    assert command("train", "sweep.resume=é").code == 1
    assert [results(tmp_path / "é" / job)["status"] for job in "01"] == ["failed", "completed"]


@pytest.mark.parametrize("columns", rest_is_slow(["1", "0", "7", "100000"], 1))
def test_a_terminal_of_any_width(command, monkeypatch, tmp_path, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert command("train", *ONE, "hydra.run.dir=run").code == 0
    assert results(tmp_path / "run")["status"] == "completed"


WHERE = ["PROGRAM | head -2", "PROGRAM 2>&1 | true", "PROGRAM > /dev/full 2>&1", "PROGRAM >&- 2>&-", "PROGRAM > out"]


def said(how: str, *words: str, cwd, **variables: str) -> int:
    """The exit code of a command, given as bash words, of which nobody hears what it says."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"} | variables
    script = "set -o pipefail; " + how.replace("PROGRAM", '"$@"')
    done = subprocess.run(["bash", "-c", script, "bash", sys.executable, *words], cwd=cwd, env=environment, timeout=300)
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("how", WHERE[1:])
@pytest.mark.parametrize("launcher", [[], ["launcher=joblib", "hydra.launcher.n_jobs=2"]], ids=["one", "joblib"])
def test_a_sweep_of_which_nobody_hears(tmp_path, how, launcher):
    if how != WHERE[1] and launcher:
        pytest.skip("one is enough of those that take long")
    assert said(how, str(ROOT / "train.py"), *SWEEP, *launcher, cwd=tmp_path) == 0
    for job in "01":
        assert results(tmp_path / "é" / job)["status"] == "completed"
        assert "test/nll" in results(tmp_path / "é" / job)["metrics"]


@pytest.mark.slow
def test_a_command_of_each_kind_of_which_nobody_hears(command, tmp_path):
    assert command("train", *ONE, "hydra.run.dir=é").code == 0
    for how, words in [
        ("PROGRAM | head -2", ["-m", "discrete_latents.summary", "é"]),
        ("PROGRAM > /dev/full", ["-m", "discrete_latents.summary", "é"]),
    ]:
        assert said(how, *words, cwd=tmp_path) == 0
        assert (tmp_path / "é" / "summary.html").is_file()
        (tmp_path / "é" / "summary.html").unlink()


@pytest.mark.slow
@pytest.mark.parametrize("how", WHERE)
def test_a_run_and_its_evaluation_of_which_nobody_hears(command, tmp_path, how):
    assert command("train", *ONE, "hydra.run.dir=é").code == 0
    assert said(how, str(ROOT / "eval.py"), "run=é", cwd=tmp_path) == 0
    (evaluation,) = (tmp_path / "é" / "evaluations").iterdir()
    assert results(evaluation)["status"] == "completed"
