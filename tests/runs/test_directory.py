"""The files of a run: their names are spelled in one module, they are those that commands write, and damage is one
line."""

import ast
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory, SearchDirectory, SweepDirectory, read_json
from discrete_latents.runs.results import write_results

SOURCE = Path(__file__).parents[2] / "src" / "discrete_latents"
OWNER = SOURCE / "runs" / "directory.py"
SPELLED = re.compile(
    r"(results\.json|metrics\.csv|(last|best)\.ckpt|(?<!overrides)\.hydra\b|multirun\.yaml|study\.db|train\.log|"
    r"(config|hydra|overrides)\.yaml$|^checkpoints$|^evaluations$|checkpoints/|evaluations/)"
)


def texts(tree: ast.AST) -> Iterator[str]:
    """String constants, f-strings included, that are not docstrings: a statement of its own is none."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.value


def spelled(code: str) -> list[str]:
    return [text for text in texts(ast.parse(code)) if SPELLED.search(text)]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_run_directory_spells_the_names_of_files(path):
    assert bool(spelled(path.read_text())) == (path == OWNER)


@pytest.mark.parametrize(
    "line",
    [
        'path = run / "results.json"',
        'fail(f"{run} has no .hydra/config.yaml")',
        'folder.glob("checkpoints/*.partial")',
        'WRITTEN = ("images", "checkpoints")',
        'x = f"{folder}/last.ckpt"',
    ],
)
def test_a_name_spelled_elsewhere_is_found(line):
    assert spelled(line)
    assert not spelled(f"def f():\n    '''{line}'''")


def names(run: RunDirectory) -> dict[str, str]:
    return {name: str(path.relative_to(run.folder)) for name, path in vars(run).items() if name != "folder"}


def test_every_file_of_a_run_is_known_by_name():
    assert names(RunDirectory("a")) == {
        "results": "results.json",
        "metrics": "metrics.csv",
        "images": "images",
        "report": "report.html",
        "explorer": "explorer.html",
        "exported": "model.safetensors",
        "card": "README.md",
        "tensorboard": "tensorboard",
        "wandb": "wandb",
        "wandb_record": "wandb/run.json",
        "log": "train.log",
        "error": "error.txt",
        "lock": ".lock",
        "holder": ".lock.txt",
        "checkpoints": "checkpoints",
        "best": "checkpoints/best.ckpt",
        "last": "checkpoints/last.ckpt",
        "hydra": ".hydra",
        "config": ".hydra/config.yaml",
        "hydra_config": ".hydra/hydra.yaml",
        "overrides": ".hydra/overrides.yaml",
        "evaluations": "evaluations",
    }


def test_a_run_writes_what_is_known_and_nothing_else(vae_run):
    run = RunDirectory(vae_run)
    known = {*map(Path, names(run).values())}
    files = {path.relative_to(vae_run) for path in vae_run.rglob("*") if path.is_file()}
    assert {path for path in files if path not in known and path.parts[0] != "images"} == set()
    assert {Path("results.json"), Path("metrics.csv"), Path("checkpoints/last.ckpt")} <= files


def test_a_run_with_checkpoints_elsewhere_has_them_there(tmp_path):
    run = RunDirectory(tmp_path / "run", tmp_path / "other")
    assert (run.last, run.best) == (tmp_path / "other" / "last.ckpt", tmp_path / "other" / "best.ckpt")
    assert run.checkpoints not in RunDirectory(run.folder).written


def test_an_evaluation_is_a_run_directory_whose_home_is_its_run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    evaluation = run.evaluation("today")
    assert evaluation.results == tmp_path / "run" / "evaluations" / "today" / "results.json"
    assert evaluation.home.folder == run.folder
    assert run.home is run


def test_nothing_is_created_by_asking(tmp_path):
    run, sweep, search = (kind(tmp_path / "none") for kind in (RunDirectory, SweepDirectory, SearchDirectory))
    assert (run.read_results(), run.last_checkpoint(), list(sweep.jobs())) == ({}, None, [])
    assert search.trial(3).results == tmp_path / "none" / "3" / "results.json"
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_read(tmp_path):
    run = RunDirectory(tmp_path)
    config = OmegaConf.create({"model": {"hidden": [1, 2]}, "twice": "${model.network.hidden}"})
    hydra = OmegaConf.create(
        {"job": {"num": 3}, "overrides": {"task": ["a=1"]}, "runtime": {"choices": {"latent": "x"}}}
    )
    run.save_config(config, hydra)
    write_results(run, {"status": "completed"})
    assert run.read_config() == config
    assert OmegaConf.to_yaml(config) in run.config.read_text()  # as Hydra saves it, references and all
    assert run.read_hydra() == hydra
    assert OmegaConf.load(run.overrides) == ["a=1"]
    assert run.read_results() == {"status": "completed"}
    assert {path.name for path in run.hydra.iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}


def test_the_jobs_of_a_sweep_are_found_wherever_they_are(tmp_path):
    hydra = OmegaConf.create({"job": {"num": 0}, "overrides": {"task": []}})
    for inner in ("0", "lr=0.1,seed=3", "deeper/down"):
        RunDirectory(tmp_path / inner).save_config(OmegaConf.create({"model": {}}), hydra)
    found = [str(run.folder.relative_to(tmp_path)) for run in SweepDirectory(tmp_path).jobs()]
    assert sorted(found) == ["0", "deeper/down", "lr=0.1,seed=3"]


DAMAGES = {
    "empty": b"",
    "binary": b"\xff\xfe\x00\x80",
    "half": b'{"model": {"hid',
    "list": b"[1, 2]",
    "number": b"3",
    "text": b"hello",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["results", "config", "hydra_config", "multirun", "wandb_record"])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, file, damage):
    run, sweep = RunDirectory(tmp_path), SweepDirectory(tmp_path)
    path = sweep.multirun if file == "multirun" else getattr(run, file)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(DAMAGES[damage])
    read = {
        "results": run.read_results,
        "config": run.read_config,
        "hydra_config": run.read_hydra,
        "multirun": sweep.read_hydra,
        "wandb_record": lambda: read_json(run.wandb_record),
    }
    with pytest.raises(UserError) as caught:
        read[file]()
    assert str(tmp_path) in str(caught.value)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", ["read_config", "read_hydra"])
def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path, read):
    with pytest.raises(UserError, match=r"is not the directory of a run: it has no \.hydra/"):
        getattr(RunDirectory(tmp_path), read)()
    with pytest.raises(UserError, match=r"is not the directory of a sweep: it has no multirun\.yaml"):
        SweepDirectory(tmp_path).read_hydra()


def test_checkpoints_are_found_or_refused(tmp_path):
    run = RunDirectory(tmp_path)
    for which in ("best", "last"):
        with pytest.raises(UserError, match=f"has no checkpoint {which}.ckpt in"):
            run.checkpoint(which)
    with pytest.raises(UserError, match="ckpt must be best or last, got 'newest'"):
        run.checkpoint("newest")
    assert run.last_checkpoint() is None
    run.checkpoints.mkdir()
    torch.save({"state_dict": {}, "callbacks": {"Checkpoints{}": {"last_model_path": ""}}}, run.best)
    assert run.checkpoint("best") == run.best
    assert run.last_checkpoint() is None  # the first best.ckpt comes before the first last.ckpt
    torch.save({"state_dict": {}, "callbacks": {"Checkpoints{}": {"last_model_path": "/a/last.ckpt"}}}, run.best)
    with pytest.raises(UserError, match=r"has no checkpoint last\.ckpt"):  # there was one
        run.last_checkpoint()
    run.best.unlink()
    for status, there in (("completed", True), ("failed", False)):
        write_results(run, {"status": status})
        with pytest.raises(UserError, match=r"has no checkpoint last\.ckpt") if there else nullcontext():
            run.last_checkpoint()
    run.last.touch()
    assert run.last_checkpoint() == run.checkpoint("last") == run.last


@pytest.mark.parametrize("cut", [None, 0, 10, -1])
def test_a_sweep_that_was_killed_while_its_configuration_was_written_has_it_all_the_same(tmp_path, cut):
    sweep = SweepDirectory(tmp_path)
    text = OmegaConf.to_yaml(OmegaConf.create({"hydra": {"overrides": {"task": ["a=1"]}}, "seed": 3}))
    sweep.multirun_copy.write_text(text)
    if cut is not None:
        sweep.multirun.write_text(text[:cut])
    assert sweep.exists
    assert sweep.read_hydra().overrides.task == ["a=1"]
    sweep.multirun.write_text("hydra: [")  # which no kill leaves
    with pytest.raises(UserError, match=r"multirun\.yaml cannot be read"):
        sweep.read_hydra()
