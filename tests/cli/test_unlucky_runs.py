"""What goes wrong around a run: numbers that are not finite, memory, folders that go, old settings, other files."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from discrete_latents.callbacks import Throughput
from discrete_latents.errors import UserError
from discrete_latents.loggers import MetricsCSV
from discrete_latents.runs.directory import RunDirectory, SearchDirectory
from discrete_latents.search.study import readable, storage
from tests.cli.conftest import SMALL, Outcome, beyond_progress
from tests.helpers.damage import DAMAGES, within

pytestmark = [
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished.folder, tmp_path / "run")


def assert_one_line(outcome: Outcome, *said: str) -> None:
    lines = beyond_progress(outcome.err)
    assert (outcome.code, len(lines)) == (1, 1), outcome.err
    assert lines[0].startswith("error: ")
    for part in said:
        assert part in lines[0]


def strict(path: Path) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{path} holds {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_test_that_is_not_finite_has_failed_and_its_results_are_json(command, run):
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["decoder.2.bias"][:] = float("inf")
    torch.save(content, path)
    outcome = command("eval", f"run={run}")
    assert_one_line(outcome, "the test is not finite: ", "test/nll = ")
    results = strict(next((run / "evaluations").glob("*/results.json")))
    assert results["status"] == "failed"
    assert results["metrics"]["test/nll"] is None
    assert "test/nll" in results["error"]


@pytest.mark.parametrize("words", [["model.eval_chunk=1000000000"], ["model.eval_chunk=100000000"]])
def test_a_step_that_needs_too_much_memory_names_what_to_lower(command, run, words):
    outcome = command("eval", f"run={run}", "eval_samples=1000000000", *words)
    assert_one_line(outcome, "not enough memory", "data.eval_batch_size", "model.eval_chunk")


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to"), OSError(12, "Cannot allocate")]
)
def test_a_training_step_that_needs_too_much_memory_names_its_batch(command, tmp_path, monkeypatch, error):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Throughput, "on_train_batch_end", fail)
    assert_one_line(command("train", *SMALL, f"hydra.run.dir={tmp_path}/run"), "not enough memory", "data.batch_size")


@pytest.mark.parametrize("logger", ["[csv]", "[]"])
def test_a_run_that_is_moved_while_it_trains_stops_and_leaves_nothing_behind(command, tmp_path, monkeypatch, logger):
    run = tmp_path / "run"

    def move(*_: Any) -> None:
        if run.exists():
            run.rename(tmp_path / "moved")

    monkeypatch.setattr(Throughput, "on_train_epoch_end", move)
    words = [*SMALL, "trainer.max_epochs=3", f"hydra.run.dir={run}", f"logger={logger}"]
    assert_one_line(command("train", *words), str(run))
    assert not run.exists()
    assert RunDirectory(tmp_path / "moved").config.is_file()


def test_a_folder_that_can_no_longer_be_written_is_one_line(command, tmp_path, monkeypatch):
    def refuse(self: MetricsCSV) -> None:
        raise PermissionError(13, "Permission denied", str(self.path))

    monkeypatch.setattr(MetricsCSV, "write", refuse)
    assert_one_line(command("train", *SMALL, f"hydra.run.dir={tmp_path}/run"), "metrics.csv cannot be written any more")


@pytest.mark.parametrize("name", ["eval_samples", "compile", "steps_per_loop", "resume", "sweep"])
def test_a_run_of_before_a_setting_existed_goes_on_with_what_it_had(command, run, name):
    path = run / ".hydra" / "config.yaml"
    config: Any = OmegaConf.load(path)
    del config[name]
    OmegaConf.save(config, path)
    outcome = command(
        "train", f"resume={run}", "trainer.max_epochs=3", "eval_samples=5" if name == "seed" else "seed=0"
    )
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("name", ["seed", "trainer", "data", "paths", "optimizer", "latent"])
def test_a_run_without_a_setting_that_it_needs_is_one_line(command, run, name):
    path = run / ".hydra" / "config.yaml"
    config: Any = OmegaConf.load(path)
    del config[name]
    OmegaConf.save(config, path)
    for outcome in (command("train", f"resume={run}", "trainer.max_epochs=3"), command("eval", f"run={run}")):
        assert_one_line(outcome, name)


@pytest.mark.parametrize("damage", ["cut", "binary", "text", "a pipe", "a folder", "a link to itself"])
def test_a_damaged_study_is_one_line(tmp_path, damage):
    optuna = pytest.importorskip("optuna")
    path = SearchDirectory(tmp_path).study
    optuna.create_study(study_name="search", storage=storage(f"sqlite:///{path}"))
    DAMAGES[damage](path)
    with within(10), pytest.raises(UserError, match=r"study\.db cannot be read as the study") as caught, readable(path):
        optuna.create_study(study_name="search", storage=storage(f"sqlite:///{path}"), load_if_exists=True)
    assert "\n" not in str(caught.value)


def test_a_study_of_another_program_is_one_line(tmp_path):
    optuna = pytest.importorskip("optuna")
    path = SearchDirectory(tmp_path).study
    with closing(sqlite3.connect(path)) as other:
        other.execute("create table studies (a integer)")
    with pytest.raises(UserError, match="cannot be read as the study"), readable(path):
        optuna.create_study(study_name="search", storage=storage(f"sqlite:///{path}"), load_if_exists=True)


SWEEPS = {
    "no overrides": lambda hydra: hydra.pop("overrides"),
    "overrides of another type": lambda hydra: hydra.overrides.update(task=3),
    "no job": lambda hydra: hydra.pop("job"),
    "sources of another type": lambda hydra: hydra.runtime.update(config_sources=3),
}


@pytest.mark.parametrize("damage", SWEEPS)
def test_a_damaged_sweep_is_one_line(command, tmp_path, damage):
    hydra = OmegaConf.create(
        {
            "job": {"config_name": "train"},
            "overrides": {"hydra": [], "task": ["seed=1,2"]},
            "runtime": {"config_sources": []},
        }
    )
    SWEEPS[damage](hydra)
    OmegaConf.save({"hydra": hydra}, tmp_path / "multirun.yaml")
    assert_one_line(command("train", f"sweep.resume={tmp_path}"), "multirun.yaml")


def test_a_job_of_a_sweep_is_in_its_folder(command, tmp_path):
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mine" / "results.json").write_text("{}")
    words = ["seed=1", "hydra.sweep.subdir=../mine", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert_one_line(command("train", "-m", *SMALL, *words), "hydra.sweep.subdir must name a folder in")
    assert (tmp_path / "mine" / "checkpoints").is_dir()
    assert (tmp_path / "mine" / "results.json").read_text() == "{}"
