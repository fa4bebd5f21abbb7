"""What a run leaves for people to read: results.json, the closing table, metrics.csv and train.log."""

import csv
import json
import os
import re
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest

from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.history import read_history
from tests.cli.conftest import ROOT, SMALL, shell
from tests.cli.test_multirun import results
from tests.helpers.tables import rest_is_slow

QUICK = [*SMALL, "~callbacks.pictures", "data.eval_batch_size=250"]


@pytest.fixture(scope="module")
def record(finished) -> dict:
    return results(finished.folder)


def test_results_json_names_what_was_trained_and_how(finished, record):
    assert (record["model"], record["network"], record["latent"]) == ("categorical_vae", "mlp", "gumbel_softmax")
    assert record["command"].startswith("python train.py model.num_latents=3 ")
    assert f"hydra.run.dir='{finished.folder}'" in record["command"].replace('"', "")
    assert record["learning_rate"] == 0.001
    assert record["total_seconds"] == record["seconds"]


def test_results_json_has_the_tested_epoch_and_its_validation_figure(finished, record):
    history = read_history(finished.folder / "metrics.csv")
    best = history["val/nelbo"].argmin()
    assert record["tested"] == {
        "epoch": history["epoch"][best] + 1,
        "step": 13 * (best + 1),
        "val/nelbo": pytest.approx(history["val/nelbo"].min()),
    }


@pytest.mark.slow
def test_the_state_that_is_tested_is_the_last_where_none_is_chosen(command, tmp_path):
    words = [*QUICK, "trainer.max_epochs=1", "callbacks.checkpoint.monitor=null", "hydra.run.dir=run"]
    assert command("train", *words).code == 0
    assert results(tmp_path / "run")["tested"] == {"epoch": 1, "step": 13}


def test_the_closing_table_names_them_too(finished, record):
    said = finished.outcome.out
    assert record["command"] in said.splitlines()
    for row in (
        rf"parameters .* {record['parameters']:,} .* categorical_vae, mlp",
        rf"val/nelbo .* {record['tested']['val/nelbo']:.2f} .* of epoch {record['tested']['epoch']}, which is tested",
        r"learning rate .* 0\.001",
    ):
        assert re.search(row, said), row


def test_seconds_are_counted_over_resumes(command, tmp_path):
    run = tmp_path / "run"
    assert command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    first = results(run)
    outcome = command("train", "resume=run", "trainer.max_epochs=2")
    second = results(run)
    assert second["total_seconds"] > second["seconds"] + 0.3 * first["seconds"]
    assert second["total_seconds"] < second["seconds"] + first["seconds"]
    assert "total seconds" in outcome.out
    assert second["command"] == "python train.py resume=run trainer.max_epochs=2"


@pytest.mark.slow
def test_the_saved_configuration_follows_a_raised_max_epochs(command, tmp_path):
    assert command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    assert command("train", "resume=run", "trainer.max_epochs=2").code == 0
    assert RunDirectory(tmp_path / "run").read_config().trainer.max_epochs == 2


def test_the_learning_rate_is_logged_each_epoch(finished):
    with (finished.folder / "metrics.csv").open(newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file) if row["learning_rate"]]
    assert rates == pytest.approx([0.001, 0.001])


@pytest.mark.slow
def test_secrets_are_masked_in_the_recorded_command(command, tmp_path):
    words = [*QUICK, "trainer.max_epochs=1", "hydra.run.dir=run", "+model.api_key=abc123456"]
    outcome = command("train", *words)
    assert "abc123456" not in outcome.out + outcome.err
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"abc123456" not in path.read_bytes()


@pytest.mark.slow
def test_a_job_of_a_sweep_records_the_command_that_trains_it_alone(command, tmp_path):
    words = [*QUICK, "debug=one_batch", "seed=3,4", "hydra.sweep.dir=sweep"]
    assert command("train", "-m", *words).code == 0
    for number, seed in enumerate((3, 4)):
        said = results(tmp_path / "sweep" / str(number))["command"]
        assert said.endswith(f"debug=one_batch seed={seed}"), said


# train.log


class Talks(pl.Callback):
    """Prints and warns in training, and fails in the epoch `fails`."""

    def __init__(self, fails: int = -1) -> None:
        self.fails = fails

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        import logging
        import warnings

        print("printed in an epoch")
        print("printed on stderr", file=sys.stderr)
        warnings.warn("warned of something", stacklevel=1)  # which pytest keeps to itself: see the slow test
        logging.getLogger("mine").warning("logged by somebody")
        if trainer.current_epoch == self.fails:
            raise ZeroDivisionError("a bug of mine")


TALKS = "+callbacks.mine._target_=tests.cli.test_records.Talks"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("terminal", rest_is_slow([True, False], 1))
def test_train_log_holds_what_was_printed(command, tmp_path, monkeypatch, terminal):
    """On a terminal as well, where the bar is drawn below what is printed: without it, and without colours."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "80")
    outcome = command("train", *QUICK, "trainer.max_epochs=1", TALKS, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    log = (tmp_path / "run" / "train.log").read_text()
    for said in ("printed in an epoch", "printed on stderr", "logged by somebody"):
        assert log.count(said) == 1, said
    assert "test/nll" in log
    assert "│ seconds" in log
    assert "run/results.json" in log.splitlines()
    assert "epoch 1/1" not in log
    assert "\x1b" not in log
    assert ("\x1b" in outcome.out + outcome.err) == terminal


@pytest.mark.slow
def test_train_log_holds_warnings(tmp_path):
    words = [*QUICK, "trainer.max_epochs=1", TALKS, "hydra.run.dir=run"]
    outcome = shell("train.py", *words, cwd=tmp_path, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run" / "train.log").read_text().count("UserWarning: warned of something") == 1


@pytest.mark.filterwarnings("default")
def test_train_log_goes_on_in_a_resumed_run_and_has_its_traceback(command, tmp_path):
    words = [*QUICK, "trainer.max_epochs=1", TALKS, "+callbacks.mine.fails=1", "hydra.run.dir=run"]
    assert command("train", *words).code == 0
    log = tmp_path / "run" / "train.log"
    first = log.read_text()
    with pytest.raises(ZeroDivisionError):
        command("train", "resume=run", "trainer.max_epochs=2", "trust=[tests]")
    more = log.read_text().removeprefix(first)
    for said in ("printed in an epoch", "Traceback (most recent call last)", "ZeroDivisionError: a bug of mine"):
        assert more.count(said) == 1, said


@pytest.mark.slow
def test_train_log_has_the_line_of_a_run_that_diverges(command, tmp_path):
    words = [*QUICK, "optimizer.lr=1e12", "trainer.log_every_n_steps=1", "hydra.run.dir=run"]
    outcome = command("train", *words)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] in (tmp_path / "run" / "train.log").read_text().splitlines()


@pytest.mark.slow
def test_a_refused_resume_writes_nothing_into_train_log(command, tmp_path):
    assert command("train", *QUICK, "trainer.max_epochs=1", "hydra.run.dir=run").code == 0
    before = (tmp_path / "run" / "train.log").read_text()
    assert command("train", "resume=run", "seed=3").code == 1
    assert command("train", "resume=run", "trainer.max_epochs=two").code == 1
    assert (tmp_path / "run" / "train.log").read_text() == before


# A first start that is refused


def broken(*_, **__):
    raise ZeroDivisionError("a bug of mine")


MISTYPED = {
    "a setting": ["trainer.max_epoch=3"],
    "a value that is seen when the data are built": ["data.binarization=soft"],
    "a value that is seen when the model is built": ["latent=disarm"],
    "a setting of the trainer": ["trainer.limit_test_batches=0.0"],
    "a value of the optimiser": ["optimizer.lr=-1"],
    "an option": ["latent=gumbel"],
    "no account": ["logger=[csv,wandb]"],
    "what Lightning refuses at the start": ["+trainer.barebones=true"],
    "the size of a batch": ["data.batch_size=0"],
    "a monitor": ["callbacks.checkpoint.monitor=val/nothing"],
    "a bug of one's own": ["+callbacks.mine._target_=tests.cli.test_records.broken"],
    "a bug of one's own in the first step": ["+callbacks.mine._target_=tests.cli.test_records.FailsAtOnce"],
}


class FailsAtOnce(pl.Callback):
    def on_train_batch_start(self, *_: object) -> None:
        raise ZeroDivisionError("a bug of mine")


@pytest.mark.parametrize("mistake", rest_is_slow([*MISTYPED], 3))
def test_a_first_start_that_is_refused_locks_nothing(command, tmp_path, monkeypatch, mistake):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    words = [*QUICK, "debug=one_batch", "hydra.run.dir=x"]
    try:
        assert command("train", *words, *MISTYPED[mistake]).code == 1
    except ZeroDivisionError:
        assert "a bug" in mistake
        assert "ZeroDivisionError" in (tmp_path / "x" / "train.log").read_text()
    assert {path.name for path in (tmp_path / "x").glob("*")} <= {".lock", "train.log", "checkpoints", "images"}
    assert not [path for path in (tmp_path / "x").rglob("*/*") if path.is_file()]
    outcome = command("train", *words)
    assert outcome.code == 0, outcome.err
    assert results(tmp_path / "x")["status"] == "completed"
    assert "to go on" not in outcome.err


@pytest.mark.slow
def test_a_run_that_failed_after_its_first_step_stays(command, tmp_path):
    words = [*QUICK, "optimizer.lr=1e12", "trainer.log_every_n_steps=1", "hydra.run.dir=x"]
    assert command("train", *words).code == 1
    outcome = command("train", *words)
    assert "holds a run already" in outcome.err
    assert Path(tmp_path / "x" / ".hydra" / "config.yaml").is_file()


@pytest.mark.slow
def test_a_failed_job_of_a_sweep_keeps_its_place(command, tmp_path):
    words = [*QUICK, "debug=one_batch", "data.binarization=fixed,soft", "hydra.sweep.dir=sweep"]
    assert command("train", "-m", *words).code == 1
    assert json.loads((tmp_path / "sweep" / "1" / "results.json").read_text())["status"] == "failed"
    assert (tmp_path / "sweep" / "1" / ".hydra" / "config.yaml").is_file()
