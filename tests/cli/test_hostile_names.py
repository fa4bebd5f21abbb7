"""No path that stands in a file of a run reaches a delete or a write: checkpoints, links, saved folders, sweeps."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf

from discrete_latents.atomic_write import atomic_write
from discrete_latents.errors import UserError
from discrete_latents.loggers.wandb_run import read_record
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.resumed_state import path_mistakes
from tests.cli.conftest import Outcome
from tests.helpers.damage import listing

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

NAMES = [
    "..",
    ".",
    "/x/..",
    "/x/../",
    "../..",
    "{canary}/..",
    "{canary}/kept.txt",
    "{canary}/kept.ckpt",
    "../../canary/kept.ckpt",
    "{run}/checkpoints/../../canary/kept.ckpt",
    "{run}/checkpoints/out/kept.ckpt",
    "{run}",
    "/",
    "~",
    "best.ckpt\0.txt",
    "..\\..\\canary\\kept.ckpt",
    "last.ckpt/..",
    "x" * 300 + ".ckpt",
    "\ud800.ckpt",
    "file:///{canary}/kept.ckpt",
]
FIELDS = ("last_model_path", "best_model_path", "kth_best_model_path", "best_k_models")
SECOND = (
    "+callbacks.second={{_target_: lightning.pytorch.callbacks.ModelCheckpoint, dirpath: '{run}/checkpoints', "
    "monitor: val/nelbo, filename: second, save_top_k: 1, every_n_epochs: 1}}"
)


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A run that somebody else sent, beside files of one's own, with a link to these in its checkpoints."""
    (tmp_path / "canary").mkdir()
    for name in ("kept.txt", "kept.ckpt"):
        (tmp_path / "canary" / name).write_text("mine")
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    (folder / "checkpoints" / "out").symlink_to(tmp_path / "canary")
    (folder / "checkpoints" / "notes.txt").write_text("beside")
    return folder


def poisoned(run: Path, field: str, name: str, state: str) -> None:
    """Puts a path into the state of a callback in both checkpoints."""
    for which in ("last", "best"):
        path = run / "checkpoints" / f"{which}.ckpt"
        content = torch.load(path, weights_only=True)
        key = next(key for key in content["callbacks"] if key.startswith("Checkpoints{"))
        own = content["callbacks"][key] | {"best_model_score": torch.tensor(99.0)}  # any is better
        if state == "second":
            key = key.replace("Checkpoints{", "ModelCheckpoint{")
        own["dirpath"] = str(run / "checkpoints")
        if field == "best_k_models":
            own |= {"best_k_models": {name: torch.tensor(99.0)}, "kth_best_model_path": name}
        else:
            own[field] = name
        content["callbacks"][key] = own
        torch.save(content, path)


def assert_kept(run: Path, before: dict[str, Any]) -> None:
    """Nothing outside the run has changed, and nothing in it but what a run writes is gone."""
    beside = run.parent
    now = {name: what for name, what in listing(beside).items() if not name.startswith("run/")}
    assert now == {name: what for name, what in before.items() if not name.startswith("run/")}
    assert (run / "checkpoints" / "notes.txt").read_text() == "beside"
    assert (run / "checkpoints" / "last.ckpt").is_file()


def assert_refused(outcome: Outcome) -> None:
    assert (outcome.code, outcome.out) == (1, ""), outcome
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err


PLACES = [(state, field) for state in ("own", "second") for field in FIELDS if (state, field) != ("second", FIELDS[0])]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_refused_or_is_that_of_a_checkpoint(run, field, name):
    path = name.format(run=run, canary=run.parent / "canary")
    callback = ModelCheckpoint(dirpath=run / "checkpoints", monitor="val/nelbo")
    state = {"best_k_models": {path: 1.0}, "kth_best_model_path": path} if field == FIELDS[3] else {field: path}
    moved = name in ("{canary}/kept.ckpt", "file:///{canary}/kept.ckpt")  # its name alone counts
    assert (list(path_mistakes(state, callback, "x")) == []) == (moved and field != "kth_best_model_path")


@pytest.mark.parametrize(
    ("state", "field", "names"),
    [
        ("own", "last_model_path", ["/x/..", "{run}/checkpoints/out/kept.ckpt"]),
        ("second", "best_k_models", ["/x/.."]),
        *(pytest.param(*place, NAMES[i % 4 :: 4], marks=pytest.mark.slow) for i, place in enumerate(PLACES)),
    ],
)
def test_a_name_in_a_checkpoint_leads_nowhere(command, run, state, field, names):
    words = [SECOND.format(run=run)] if state == "second" else []
    clean = run.parent / "clean"
    shutil.copytree(run, clean, symlinks=True)
    for name in names:
        shutil.rmtree(run)
        shutil.copytree(clean, run, symlinks=True)
        poisoned(run, field, name.format(run=run, canary=run.parent / "canary"), state)
        before = listing(run.parent)
        outcome = command("train", f"resume={run}", "trainer.max_epochs=3", *words)
        if outcome.code:
            assert_refused(outcome)
            assert listing(run.parent) == before, name
        else:  # a file of this name in the folder of the checkpoints
            assert name.endswith(".ckpt"), name
        assert_kept(run, before)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("kept.ckpt")])
def test_a_name_in_the_results_leads_nowhere(run, name):
    path = run / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint": name.format(run=run, canary="/x")}))
    with pytest.raises(UserError, match=r"results\.json is damaged"):
        RunDirectory(run).tested()


def linked(name: str) -> Callable[[Path, Path], object]:
    def damage(run: Path, canary: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.copytree(path, canary / "there", symlinks=True)
            shutil.rmtree(path)
            path.symlink_to(canary / "there")
        else:
            path.unlink()
            path.symlink_to(canary / "kept.txt")

    return damage


def configured(name: str, value: str) -> Callable[[Path, Path], object]:
    def damage(run: Path, canary: Path) -> None:
        path = run / ".hydra" / "config.yaml"
        config = OmegaConf.load(path)
        OmegaConf.update(config, name, value.format(canary=canary))
        OmegaConf.save(config, path)

    return damage


OUTSIDE = {
    "checkpoints are a link": linked("checkpoints"),
    "images are a link": linked("images"),
    "metrics are a link": linked("metrics.csv"),
    "results are a link": linked("results.json"),
    "the log is a link": linked("train.log"),
    "output_dir": configured("paths.output_dir", "{canary}"),
    "pictures": configured("callbacks.pictures.folder", "{canary}"),
    "metrics": configured("logger.csv.path", "{canary}/metrics.csv"),
    "checkpoints of another run": configured("callbacks.checkpoint.dirpath", "{canary}/other/checkpoints"),
    "a folder of other files": configured("callbacks.checkpoint.dirpath", "{canary}"),
}


@pytest.mark.parametrize("how", OUTSIDE)
def test_a_resumed_run_writes_nowhere_else(command, finished, run, how):
    canary = run.parent / "canary"
    shutil.copytree(finished.folder, canary / "other")
    OUTSIDE[how](run, canary)
    before = listing(run.parent)
    assert_refused(command("train", f"resume={run}", "trainer.max_epochs=3"))
    assert listing(run.parent) == before


def test_it_does_where_the_command_line_says_so(command, run):
    canary = run.parent / "canary"
    configured("callbacks.pictures.folder", "{canary}")(run, canary)
    outcome = command("train", f"resume={run}", "trainer.max_epochs=3", f"callbacks.pictures.folder={canary}")
    assert outcome.code == 0, outcome.err
    assert (canary / "samples.png").is_file()


def test_evaluations_are_not_written_through_a_link(command, run):
    (run / "evaluations").symlink_to(run.parent / "canary")
    assert_refused(command("eval", f"run={run}"))
    assert {path.name for path in (run.parent / "canary").rglob("*") if path.is_file()} == {"kept.txt", "kept.ckpt"}


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_the_file_that_is_written_first_is_a_new_one(run, kind):
    kept, path = run.parent / "canary" / "kept.txt", run / "results.json"
    partial = path.with_name("results.json.partial")
    os.mkfifo(partial) if kind == "pipe" else partial.symlink_to(kept)
    atomic_write(path, "new")
    assert (kept.read_text(), path.read_text(), path.is_symlink()) == ("mine", "new", False)


RECORDS = [{"id": "../../canary"}, {"id": "/x"}, {"id": "a b"}, {"id": "é"}, {"id": 3}, {"project": ["a"]}, [1]]


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_a_record_of_wandb_names_no_path(tmp_path, record):
    path = RunDirectory(tmp_path).wandb_record
    atomic_write(path, json.dumps(record))
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        read_record(path)
