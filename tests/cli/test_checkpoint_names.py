"""Whatever the settings of `callbacks.checkpoint` call the checkpoints: the best, as the rows of metrics.csv show it,
is what is tested, recorded, evaluated, loaded and resumed from. What cannot be so is refused before training."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from tests.cli.conftest import SMALL, same_bits, weights
from tests.cli.test_errors import case

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

WORSE = ["trainer.max_epochs=4", "optimizer.lr=0.5", "~callbacks.progress", "~callbacks.pictures"]
"""A rate so high that the last epoch is not the best."""

LIGHTNING = "_target_:lightning.pytorch.callbacks.ModelCheckpoint"
NAMES = {
    "three": "+callbacks.checkpoint.save_top_k=3",
    "all": "+callbacks.checkpoint.save_top_k=-1",
    "none": "+callbacks.checkpoint.save_top_k=0",
    "own name": "callbacks.checkpoint.filename=mine",
    "metric in it": "'callbacks.checkpoint.filename=\"epoch={epoch}-{val/nelbo:.2f}\"'",
    "no metric's name": "'callbacks.checkpoint.filename=\"{epoch}-{val/nelbo:.2f}\"' +callbacks.checkpoint.auto_insert_metric_name=false",  # noqa: E501
    "three of one epoch": "'callbacks.checkpoint.filename=\"{epoch}\"' +callbacks.checkpoint.save_top_k=3 +trainer.val_check_interval=5",  # noqa: E501
    "default name": "callbacks.checkpoint.filename=null",
    "versions": "callbacks.checkpoint.enable_version_counter=true +callbacks.checkpoint.save_top_k=2",
    "not last": "callbacks.checkpoint.save_last=false",
    "weights alone": "callbacks.checkpoint.save_last=false +callbacks.checkpoint.save_weights_only=true",
    "latest": "callbacks.checkpoint.monitor=null",
    "every second epoch": "+callbacks.checkpoint.every_n_epochs=2 seed=3",
    "at the epoch's end": "+callbacks.checkpoint.save_on_train_epoch_end=true",
    "elsewhere too": f"+callbacks.b={{{LIGHTNING},dirpath:other,monitor:val/kl,filename:best}}",
    "of another metric": "callbacks.checkpoint.monitor=val/kl",
}
"""A name of the case, and its settings."""

QUICK = ("three", "metric in it", "none", "not last", "latest")


def validations(folder: Path, metric: str) -> list[tuple[float, int]]:
    """The values of a metric, and the number of optimiser steps done before each."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [(float(row[metric]), int(row["step"]) + 1) for row in csv.DictReader(file) if row.get(metric)]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_the_best_is_found_under_any_name(command, tmp_path, name):
    words = shlex.split(NAMES[name])
    outcome = command("train", *SMALL, *WORSE, *words, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    run, metric = tmp_path / "run", "val/kl" if name == "of another metric" else "val/nelbo"
    values = validations(run, metric)
    if name == "every second epoch":
        values = values[1::2]
    steps = values[-1][1] if name in ("none", "latest") else min(values)[1]
    if name not in ("none", "latest", "three of one epoch", "of another metric"):
        assert min(values) != values[-1]  # or the test would not tell the best from the last
    results = json.loads((run / "results.json").read_text())
    tested = run / results["checkpoint"]
    assert torch.load(tested, weights_only=True)["global_step"] == steps
    assert tested.parent == run / "checkpoints"
    assert RunDirectory(run).checkpoint("best") == tested
    assert same_bits(dict(load_run(run).model.state_dict()), weights(tested))
    kept = {"three": 3, "all": 4, "none": 0, "three of one epoch": 3, "versions": 2, "every second epoch": 1}.get(
        name, 1
    )
    assert len(set((run / "checkpoints").iterdir()) - {run / "checkpoints" / "last.ckpt"}) == kept
    outcome = command("eval", "run=run")
    assert outcome.code == 0, outcome.err
    (evaluated,) = (run / "evaluations").glob("*/results.json")
    assert json.loads(evaluated.read_text())["metrics"] == results["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("not last", "weights alone")])
def test_a_resumed_run_keeps_its_best_and_its_files_under_any_name(command, tmp_path, name):
    words = shlex.split(NAMES[name])
    assert command("train", *SMALL, *WORSE, *words, "hydra.run.dir=straight").code == 0
    assert command("train", *SMALL, *WORSE, *words, "trainer.max_epochs=2", "hydra.run.dir=first").code == 0
    shutil.move(tmp_path / "first", tmp_path / "moved")
    again = ["callbacks.b.dirpath=other"] if "dirpath:other" in NAMES[name] else []  # outside the run
    outcome = command("train", "resume=moved", "trainer.max_epochs=4", *again)
    assert outcome.code == 0, outcome.err
    straight, moved = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("straight", "moved"))
    assert straight["metrics"] == moved["metrics"]
    assert straight["checkpoint"] == moved["checkpoint"]
    files = [{path.name for path in (tmp_path / run / "checkpoints").iterdir()} for run in ("straight", "moved")]
    assert files[0] == files[1]


MONITOR = "callbacks.checkpoint."
REFUSED = [
    case(f"{MONITOR}save_last=link", f"{MONITOR}save_last must be true or false", "'link'"),
    case(f"+{MONITOR}every_n_train_steps=5", f"{MONITOR}every_n_train_steps must be null, got 5", "every_n_steps"),
    case(
        f"+{MONITOR}train_time_interval={{_target_:datetime.timedelta,minutes:5}}", "train_time_interval must be null"
    ),
    case(f"+{MONITOR}save_on_exception=true", f"{MONITOR}save_on_exception must be null, got True"),
    case(f"+{MONITOR}save_weights_only=true", f"{MONITOR}save_weights_only must be false where save_last is true"),
    case(f"{MONITOR}save_last=false {MONITOR}every_n_steps=5", f"{MONITOR}every_n_steps must be null where save_last"),
    case(f"{MONITOR}filename=last", f"{MONITOR}filename must be the name of a file", "'last'"),
    case(f"{MONITOR}filename=sub/best", f"{MONITOR}filename must be the name of a file", "'sub/best'"),
    case(f"{MONITOR}filename=../best", f"{MONITOR}filename must be the name of a file", "'../best'"),
    case(f"{MONITOR}filename='\"{{epoch:q}}\"'", f"{MONITOR}filename must be a template", "{epoch:q}"),
    case(f"{MONITOR}filename='\"{{val/nelb}}\"'", f"{MONITOR}filename must be a metric", "val/nelb", "val/nelbo"),
    case(f"{MONITOR}dirpath=null", f"{MONITOR}dirpath must be a folder, got None"),
    case(f"{MONITOR}monitor=val/nelb", f"{MONITOR}monitor must be a metric", "val/nelb", "val/nelbo"),
    case(f"{MONITOR}monitor=test/nll", f"{MONITOR}monitor must be a metric", "test/nll"),
    case(f"+{MONITOR}save_top_k=-2", "save_top_k=-2"),
    case(f"{MONITOR}monitor=null +{MONITOR}save_top_k=2", "save_top_k=2"),
    case(
        "~callbacks.checkpoint +callbacks.b._target_=lightning.pytorch.callbacks.ModelCheckpoint",
        "callbacks.b must be a discrete_latents.callbacks.Checkpoints",
    ),
    case("+callbacks.b=${callbacks.checkpoint}", "callbacks.b must not be a second Checkpoints"),
    case(
        "+callbacks.b={_target_:lightning.pytorch.callbacks.ModelCheckpoint}",
        "callbacks.b must have a dirpath of its own",
    ),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_what_cannot_be_honoured_is_one_line_before_training(command, tmp_path, arguments, words):
    outcome = command("train", *SMALL, "~callbacks.progress", *shlex.split(arguments))
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    for word in ("error: ", *words):
        assert word in outcome.err
    assert not {"checkpoints", "images", "metrics.csv"} & {path.name for path in tmp_path.rglob("*")}


def test_a_resumed_run_chooses_its_best_by_the_same_rule(command, finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    outcome = command("train", f"resume={run}", "trainer.max_epochs=3", "callbacks.checkpoint.monitor=val/kl")
    assert outcome.code == 1
    assert "callbacks.checkpoint.monitor = val/kl, where the run has val/nelbo" in outcome.err
    saved = RunDirectory(run).config
    saved.write_text(saved.read_text().replace("monitor: val/nelbo", "monitor: val/kl"))
    outcome = command("train", f"resume={run}", "trainer.max_epochs=3")
    assert outcome.code == 1
    assert "callbacks.checkpoint.monitor, mode and every_n_epochs must be those" in outcome.err
    assert "val/nelbo" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("named", [3, "", "/", "..", "results.json", "../../secret", ["best.ckpt"]], ids=str)
def test_a_name_that_is_no_checkpoints_is_refused(finished, tmp_path, named):
    run = RunDirectory(shutil.copytree(finished.folder, tmp_path / "run"))
    results = run.read_results()
    run.results.write_text(json.dumps(results | {"checkpoint": named}))
    with pytest.raises(UserError, match=r"results.json is damaged: it names no checkpoint"):
        load_run(run.folder)


@pytest.mark.parametrize("named", ["/etc/other.ckpt", "../../other.ckpt", "checkpoints/../../other.ckpt"])
def test_a_checkpoint_outside_the_run_is_never_read(finished, tmp_path, named):
    run = RunDirectory(shutil.copytree(finished.folder, tmp_path / "run"))
    shutil.copy(run.best, tmp_path / "other.ckpt")
    run.results.write_text(json.dumps(run.read_results() | {"checkpoint": named}))
    with pytest.raises(UserError, match=r"has no checkpoint other.ckpt in .*run/checkpoints"):
        load_run(run.folder)


def test_a_best_that_is_the_worst_is_said(command):
    outcome = command("train", *SMALL, *WORSE, "trainer.max_epochs=1", "callbacks.checkpoint.mode=max")
    assert outcome.code == 0
    assert "callbacks.checkpoint.mode should be min for val/nelbo, got 'max': the worst" in outcome.err


def test_the_best_of_a_run_that_has_no_results_yet(command, tmp_path):
    words = ["+callbacks.checkpoint.save_top_k=3", "hydra.run.dir=run"]
    assert command("train", *SMALL, *WORSE, *words).code == 0
    run = RunDirectory(tmp_path / "run")
    tested = run.checkpoint("best")
    run.results.unlink()
    assert run.checkpoint("best") == tested
    assert load_run(run.folder).model is not None


def test_a_run_that_went_on_since_its_results_has_the_best_of_now(command, tmp_path):
    words = ["callbacks.checkpoint.filename=null", "trainer.max_epochs=1", "hydra.run.dir=run"]
    assert command("train", *SMALL, *words).code == 0
    run = RunDirectory(tmp_path / "run")
    before = run.results.read_text()
    assert command("train", "resume=run", "trainer.max_epochs=3").code == 0
    best = run.checkpoint("best")
    run.results.write_text(before)
    assert run.checkpoint("best") == best
