"""The table of metrics: what it says of each, and that whoever shows metrics says the same."""

import csv
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from discrete_latents.loggers import WandbRun
from discrete_latents.runs import metrics
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.results_table import meaning, show, show_sweep

CONFIGS = Path(__file__).parents[2] / "configs"


def test_names_are_there_once_and_units_are_known():
    assert len(metrics.BY_NAME) == len(metrics.METRICS)
    assert {metric.unit for metric in metrics.METRICS} <= {"nats", "bits", "dB", "%", "s", "images/s", ""}
    assert {*metrics.LOGGED_IN_VALIDATION} <= metrics.BY_NAME.keys()


@pytest.mark.parametrize("run", ["vae_run", "sbn_run", "ssl_run"])
def test_every_metric_that_a_run_logs_is_in_the_table(run, request):
    folder = RunDirectory(request.getfixturevalue(run))
    with folder.metrics.open(newline="") as file:
        columns = next(csv.reader(file))
    logged = {metrics.short(name) for name in (*columns, *folder.read_results()["metrics"])} - {"step", "epoch"}
    assert logged <= metrics.BY_NAME.keys()
    assert {name for name in metrics.LOGGED_IN_VALIDATION if f"val/{name}" in columns} == {
        name for name in logged if f"val/{name}" in columns and metrics.BY_NAME[name].better
    }


@pytest.mark.parametrize(
    ("name", "end", "direction"),
    [
        ("test/nll", "lowest", 1),
        ("val/nelbo", "lowest", 1),
        ("seconds", "lowest", 1),
        ("test/accuracy", "highest", -1),
        ("train_images_per_second", "highest", -1),
        ("test/relaxed_nelbo", None, 0),
        ("test/kl", None, 0),
        ("test/anything_else", None, 0),
    ],
)
def test_the_better_end_of_runs(name, end, direction):
    assert (metrics.better_end(name), metrics.direction(name)) == (end, direction)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("test/nll", 81.2049, "81.20"),
        ("test/accuracy", 0.97539, "97.5%"),
        ("val/code_usage", 1.0, "100.0%"),
        ("train_images_per_second", 123456.7, "123,457"),
        ("something", -1.5, "-1.50"),
        ("test/nelbo", float("nan"), "nan"),
    ],
)
def test_how_a_value_is_shown(name, value, text):
    assert metrics.metric(name).text(value) == text


def test_columns_are_ordered_by_the_table_and_test_images_come_first():
    names = ["zebra", "val/kl", "test/kl", "val/nll", "test/nll", "test/accuracy", "seconds", "val/nelbo"]
    ordered = ["test/nll", "val/nll", "val/nelbo", "test/accuracy", "test/kl", "val/kl", "seconds", "zebra"]
    assert sorted(names, key=metrics.position) == ordered


def test_what_wandb_keeps_the_best_of(tmp_path):
    assert metrics.best_in_validation("lowest") == ["val/nelbo", "val/relaxed_nelbo", "val/calibration_error"]
    assert metrics.best_in_validation("highest") == ["val/accuracy"]
    settings = OmegaConf.load(CONFIGS / "logger" / "wandb.yaml").wandb
    assert (settings.lowest, settings.highest) == (None, None)
    pytest.importorskip("wandb")
    table = {"val/nelbo": "min", "val/relaxed_nelbo": "min", "val/calibration_error": "min", "val/accuracy": "max"}
    assert WandbRun(str(tmp_path), "project", offline=True, lowest=None).best == table
    assert WandbRun(str(tmp_path), "project", offline=True, lowest=["epoch"], highest=[]).best == {"epoch": "min"}


def test_a_meaning_has_the_unit_and_the_number_of_samples():
    assert meaning("test/nll", 1000) == "nats, m = 1000"
    assert meaning("val/perplexity", 1000) == "classes a latent"
    assert meaning("test/unknown", 1000) == ""


def test_the_closing_table_has_every_metric_even_one_of_a_users_own_model(tmp_path, capsys):
    run = RunDirectory(tmp_path)
    run.results.touch()
    results = {
        "experiment": "mine",
        "latent": "exact",
        "data": {"name": "digits", "binarization": "fixed"},
        "eval_samples": 7,
        "metrics": {"test/own": 3.14159, "test/accuracy": 0.5, "test/nll": 20.0, "test/calibration_error": 0.01},
    }
    show(results, run, Path.cwd())
    shown = capsys.readouterr().out
    order = [shown.index(text) for text in ("20.00", "50.0%", "0.0100", "3.14")]
    assert order == sorted(order)
    assert "m = 7" in shown
    assert "results.json" in shown


def test_a_sweeps_table_has_what_its_jobs_have(capsys):
    done = {"metrics": {"test/nll": 20.0, "test/accuracy": 0.925}}
    show_sweep("title", [(0, "seed=0", done, "completed"), (1, "seed=1", {}, "failed")])
    shown = capsys.readouterr().out
    assert [word in shown for word in ("nll", "20.00", "92.5%", "failed", "nelbo")] == [True, True, True, True, False]
