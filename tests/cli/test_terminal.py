"""What a run shows on a terminal: a line at once, a bar that counts what it says, tables of 80 columns."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning.pytorch as pl
import pytest

from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.results_table import show, show_sweep
from tests.cli.conftest import ROOT, SMALL, shell
from tests.helpers.tables import rest_is_slow

QUICK = [*SMALL, "~callbacks.pictures", "data.eval_batch_size=250", "hydra.run.dir=run"]
PYTHON = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


# The bar

COUNTED = {
    "epochs": (["trainer.max_epochs=2"], 26, "epoch 2/2"),
    "accumulation": (["trainer.max_epochs=3", "+trainer.accumulate_grad_batches=4"], 12, "epoch 3/3"),
    "max_steps": (["trainer.max_epochs=-1", "trainer.max_steps=15"], 15, "epoch 2"),
    "Lightning's own loop": (["steps_per_loop=1", "trainer.max_epochs=2"], 26, "epoch 2/2"),
    "accumulation in Lightning's own loop": (
        ["steps_per_loop=1", "trainer.max_epochs=2", "+trainer.accumulate_grad_batches=5"],
        6,
        "epoch 2/2",
    ),
    "fewer batches": (["trainer.max_epochs=2", "+trainer.limit_train_batches=5"], 10, "epoch 2/2"),
    "larger batches": (["trainer.max_epochs=1", "data.batch_size=200"], 7, "epoch 1/1"),
}


@pytest.mark.filterwarnings("ignore:The number of training batches")
@pytest.mark.parametrize("kind", rest_is_slow([*COUNTED], 2))
def test_the_bar_counts_the_optimiser_steps_that_are_done(command, tmp_path, kind):
    words, steps, epoch = COUNTED[kind]
    outcome = command("train", *QUICK, *words)
    (bar,) = [line for line in outcome.err.splitlines() if line.startswith("epoch")]
    assert f" {steps}/{steps} steps " in bar
    assert bar.startswith(f"{epoch} ")
    assert "│ seconds" in outcome.out
    assert f"{steps} steps" in outcome.out.split("│ seconds")[1]


@pytest.mark.slow
def test_the_bar_of_a_resumed_run_counts_all_steps(command):
    assert command("train", *QUICK, "trainer.max_epochs=1").code == 0
    outcome = command("train", "resume=run", "trainer.max_epochs=3")
    assert " 39/39 steps " in outcome.err


def test_the_bar_shows_the_validation_figure_and_the_time_that_is_left(command, tmp_path):
    outcome = command("train", *QUICK, "trainer.max_epochs=2")
    (bar,) = [line for line in outcome.err.splitlines() if line.startswith("epoch")]
    assert re.search(r"ETA \d:\d\d:\d\d val/nelbo \d\d\.\d\d$", bar.rstrip())
    assert len(bar) <= 80


@pytest.mark.slow
def test_the_bar_shows_the_metric_that_is_monitored(command):
    words = ["callbacks.checkpoint.monitor=val/kl", "trainer.max_epochs=1"]
    assert re.search(r"val/kl \d\.\d\d", command("train", *QUICK, *words).err)


@pytest.mark.slow
def test_a_wide_terminal_shows_the_training_objective_too(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    assert re.search(r"val/nelbo \S+  relaxed_nelbo \S+", command("train", *QUICK, "trainer.max_epochs=1").err)


@pytest.mark.parametrize("words", rest_is_slow([["~callbacks.progress"], ["+trainer.enable_progress_bar=false"]], 1))
def test_without_our_bar_there_is_none(command, words):
    outcome = command("train", *QUICK, *words, "trainer.max_epochs=1")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.slow
def test_the_bars_of_parallel_jobs_do_not_fight(tmp_path):
    words = [*QUICK[:-1], "debug=one_batch", "seed=0,1", "hydra.sweep.dir=sweep"]
    outcome = shell("train.py", "-m", "launcher=joblib", "hydra.launcher.n_jobs=2", *words, cwd=tmp_path)
    assert outcome.code == 0
    for word in ("epoch", "Epoch", "ETA", "it/s"):
        assert word not in outcome.err


# Tables

LONG = "a_name_that_is_long_enough_to_leave_no_room_for_anything_beside_it_whatever_it_is"
RESULTS = {
    "experiment": "paper/concrete_nonlinear+" + LONG,
    "latent": "decoupled_st_gumbel",
    "model": "bernoulli_structured_prediction",
    "network": "concrete_nonlinear",
    "data": {"name": "fashion_mnist", "binarization": "threshold"},
    "metrics": {"test/nll": 123456.78, f"test/{LONG}": 1.0, "test/calibration_error": 0.123456},
    "eval_samples": 1_000_000,
    "command": "python train.py " + " ".join(f"model.setting_{index}=value" for index in range(20)),
    "tested": {"epoch": 1000, "step": 10**7, "val/nelbo": 1234.5},
    "parameters": 10**9,
    "learning_rate": 0.000123456,
    "train_images_per_second": 1e6,
    "seconds": 1e5,
    "total_seconds": 1e6,
    "epochs": 1000,
    "steps": 10**7,
}


def fits(said: str) -> list[str]:
    """The lines of tables. Each has at most 80 columns, and none is cut off."""
    lines = [line for line in said.splitlines() if set(line) & set("│┃━─")]
    assert lines
    assert max(map(len, lines)) <= 80
    assert "…" not in said
    return lines


def test_the_closing_table_fits_80_columns(capsys, tmp_path):
    show(RESULTS, RunDirectory(tmp_path), tmp_path)
    said = capsys.readouterr().out
    fits(said)
    assert RESULTS["command"] in said.splitlines()


def test_the_closing_table_is_without_what_a_run_does_not_have(capsys, tmp_path):
    """A model of one's own has no network and maybe no data of ours."""
    bare = {"experiment": "mine", "data": {}, "metrics": {"test/loss": None}, "eval_samples": 1, "parameters": 3}
    show(bare, RunDirectory(tmp_path), tmp_path)
    said = capsys.readouterr().out
    fits(said)
    assert "not finite" in said
    assert "None" not in said


def test_the_table_of_a_sweep_fits_80_columns(capsys):
    job = (0, f"model.network.hidden=[200,200] optimizer.lr=0.001 {LONG}", RESULTS, "not applicable")
    show_sweep("logs/" + LONG * 2, [job, job])
    fits(capsys.readouterr().out)


@pytest.mark.slow
def test_the_tables_of_a_summary_and_a_search_fit_80_columns(command, tmp_path):
    assert (
        command("train", "-m", *QUICK[:-1], "debug=one_batch", "latent=rloo,st_gumbel", "hydra.sweep.dir=sweep").code
        == 0
    )
    search = ["search.trials=2", "debug=one_batch", *QUICK[:-1], "search.dir=found"]
    for words in (["summarize", "sweep", "--by", "latent", "model.network.hidden"], ["search", *search]):
        done = subprocess.run(
            [sys.executable, "-m", "discrete_latents", *words],
            cwd=tmp_path,
            env=os.environ | PYTHON,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        fits(done.stdout)


# The start and the end


def first_line(*words: str, cwd: Path) -> tuple[str, float]:
    """The first line that a command shows on a terminal, and after how many seconds it came."""
    ours, its = os.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], cwd=cwd, env=os.environ | PYTHON, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    try:
        return os.read(ours, 1000).decode(), time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    "words", [[str(ROOT / "train.py")], [str(ROOT / "eval.py")], ["-m", "discrete_latents", "train"]]
)
def test_a_command_says_within_a_second_that_it_starts(tmp_path, words):
    waits = []
    for _ in range(3):  # a busy machine may be late once
        line, seconds = first_line(*words, "nothing=1", cwd=tmp_path)
        assert line.startswith("starting: ")
        waits.append(seconds)
        if seconds < 1:
            return
    raise AssertionError(f"after {waits} seconds")


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_what_is_asked_for_stands_alone(monkeypatch, capsys, words):
    from discrete_latents import start

    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    start.say_starting()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1"])
    start.say_starting()
    assert capsys.readouterr().err.startswith("starting: ")


class Interrupts(pl.Callback):
    """Ctrl-C in an epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("folder", rest_is_slow(["a run, (1)", "run"], 1))
def test_ctrl_c_prints_how_to_go_on(command, tmp_path, folder):
    words = [*QUICK[:-1], f"hydra.run.dir={folder}", "+callbacks.mine._target_=tests.cli.test_terminal.Interrupts"]
    outcome = command("train", *words)
    assert outcome.code != 0
    line = outcome.err.splitlines()[-1]
    assert line.startswith("error: interrupted; to go on: python train.py ")
    assert line in (tmp_path / folder / "train.log").read_text().splitlines()
    pasted = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {line.partition('train.py ')[2]}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    outcome = command("train", *pasted, "~callbacks.mine")
    assert outcome.code == 0, outcome.err
    assert "26 steps" in outcome.out


def test_ctrl_c_before_training_promises_nothing(command, tmp_path, monkeypatch):
    from discrete_latents.training import train

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "build_data", interrupt)
    outcome = command("train", *QUICK)
    assert outcome.err == "error: interrupted\n"
    assert not (tmp_path / "run" / ".hydra").exists()
