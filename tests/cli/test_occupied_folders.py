"""A folder that holds a run is left as it is, however a command comes to name it."""

import os
import shutil
from pathlib import Path

import pytest

from discrete_latents.runs.directory import RunDirectory
from tests.cli.conftest import SMALL, snapshot
from tests.cli.test_multirun import results
from tests.helpers.tables import rest_is_slow

ONE = [*SMALL, "trainer.max_epochs=1", "callbacks.pictures.every_n_epochs=0"]

NAMED = {
    "by an interpolation": ["hydra.run.dir=runs/i_${seed}"],
    "by another setting": ["paths.output_dir=runs/i_0"],
    "by both": ["paths.output_dir=runs/i_0", "hydra.run.dir=runs/i_0"],
    "by an interpolation of another setting": ["paths.output_dir=runs/i_${seed}"],
    "in an experiment": ["--config-dir", "options", "experiment=dir"],
    "in an experiment, as the other setting": ["--config-dir", "options", "experiment=output"],
    "without .hydra": ["hydra.run.dir=runs/i_0", "hydra.output_subdir=null"],
    "through a parent": ["hydra.run.dir=new/../runs/i_0"],
    "through a link": ["hydra.run.dir=link"],
    "through a link of a parent": ["hydra.run.dir=all/i_0/"],
    "absolutely": ["hydra.run.dir=${oc.env:PWD}/runs/i_0"],
    "of a moved job": ["hydra.run.dir=runs/i_0", "hydra.job.chdir=true"],
    "by the job's name": ["hydra.run.dir=runs/${hydra.job.name}", "hydra.job.name=i_0"],
}


@pytest.fixture(scope="module")
def occupied(tmp_path_factory) -> Path:
    """A folder with what a run leaves in runs/i_0, as far as these tests need it, two links, and experiments."""
    cwd = tmp_path_factory.mktemp("occupied")
    run = RunDirectory(cwd / "runs" / "i_0")
    for path in (run.config, run.hydra_config, run.overrides, run.results, run.metrics, run.last, run.log):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (cwd / "link").symlink_to(run.folder)
    (cwd / "all").symlink_to("runs")
    options = cwd / "options" / "experiment"
    options.mkdir(parents=True)
    (options / "dir.yaml").write_text("# @package _global_\nhydra:\n  run:\n    dir: runs/i_0\n")
    (options / "output.yaml").write_text("# @package _global_\npaths:\n  output_dir: runs/i_0\n")
    return cwd


@pytest.mark.parametrize("how", rest_is_slow([*NAMED], 7))
def test_a_run_is_not_written_over_however_its_folder_is_named(command, occupied, monkeypatch, how):
    monkeypatch.setenv("PWD", str(occupied))
    before = snapshot(occupied)
    outcome = command("train", *NAMED[how], *ONE, cwd=occupied)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert "holds a run already (.hydra); name another folder, or continue it with resume=" in outcome.err
    assert snapshot(occupied) == before
    assert not (occupied / "new").exists()


@pytest.mark.parametrize(
    "kept", rest_is_slow(["results.json", "checkpoints/last.ckpt", "metrics.csv", "images/samples.png"], 1)
)
@pytest.mark.parametrize("name", ["hydra.run.dir", "paths.output_dir"])
def test_any_file_of_a_run_is_a_run(command, tmp_path, name, kept):
    file = tmp_path / "run" / kept
    file.parent.mkdir(parents=True)
    file.write_text("1")
    before = snapshot(tmp_path)
    outcome = command("train", *ONE, f"{name}=run")
    assert (outcome.code, outcome.err) == (
        1,
        f"error: {name} = run holds a run already ({kept.split('/')[0]}); name another folder\n",
    )
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("file", [".lock", ".lock.txt", "train.log", ".hydra/config.yaml", ".hydra/hydra.yaml", "mine"])
def test_what_a_kill_at_the_start_leaves_is_no_run(tmp_path, file):
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    assert run.trace() is None


def test_such_a_folder_is_started_again(command, tmp_path):
    run = RunDirectory(tmp_path / "run")
    for path in (run.lock, run.holder, run.log, run.config, run.hydra_config):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    outcome = command("train", *ONE, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert results(run.folder)["status"] == "completed"
    assert run.read_config().seed == 0


def test_one_folder_has_all_the_files_of_a_run(command, tmp_path):
    """Also where `paths.output_dir` names it, so that the run is resumed and evaluated, and moved."""
    assert command("train", *ONE, "paths.output_dir=runs/a").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    run = RunDirectory(shutil.move(tmp_path / "runs", tmp_path / "moved") / Path("a"))
    assert all(path.exists() for path in (run.hydra, run.log, run.results, run.last))
    assert command("train", "resume=moved/a", "trainer.max_epochs=2").code == 0
    assert command("eval", "run=moved/a").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"moved"}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("train", ["paths.output_dir=a", "hydra.run.dir=b"], "paths.output_dir = a is not hydra.run.dir = b"),
        ("train", ["resume=run", "hydra.run.dir=b"], "resume = run goes on in its own folder, not in hydra.run.dir = "),
        ("train", ["resume=run", "paths.output_dir=b"], "resume = run: paths.output_dir = b, where the run has "),
        ("eval", ["run=run", "hydra.run.dir=run"], "holds a run already"),
        ("eval", ["run=run", "hydra.run.dir=run/evaluations/a"], "holds a run already (results.json)"),
        ("eval", ["run=run", "paths.output_dir=run"], "paths.output_dir = run is not the folder of this command"),
    ],
    ids=str,
)
def test_a_folder_beside_is_refused(command, finished, tmp_path, name, words, said):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    evaluation = RunDirectory(run).evaluation("a")
    evaluation.folder.mkdir(parents=True)
    evaluation.results.write_text("{}")
    before = snapshot(run)
    outcome = command(name, *words)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert said in outcome.err
    after = snapshot(run)
    assert {file for file in after if after[file] != before.get(file)} <= {".lock"}


@pytest.mark.parametrize("value", ["${oc.env:NOWHERE_SET}", "${nothing.there}"])
@pytest.mark.parametrize("name", ["hydra.run.dir", "paths.output_dir"])
def test_a_folder_that_cannot_be_resolved_is_one_line(command, tmp_path, name, value):
    outcome = command("train", *ONE, f"{name}={value}")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert list(tmp_path.iterdir()) == []


# Jobs of a sweep


@pytest.mark.parametrize(
    "words",
    rest_is_slow(
        [
            ["hydra.sweep.subdir=${seed}", "optimizer.lr=0.1,0.2"],
            ["hydra.sweep.subdir=x", "seed=0,1"],
            ["hydra.sweep.subdir=${latent.kl}/../x", "seed=0,1"],
            ["hydra.sweep.subdir=${seed}", "seed=3,3"],
        ],
        2,
    ),
    ids=str,
)
def test_jobs_that_would_share_a_folder_are_refused_at_the_start(command, tmp_path, words):
    outcome = command("train", "-m", *ONE, "hydra.sweep.dir=sweep", *words)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
    assert "jobs 0 (" in outcome.err
    assert "would share the folder" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_job_does_not_touch_a_run_that_is_not_its_own(command, tmp_path):
    assert command("train", *ONE, "seed=7", "hydra.run.dir=sweep/0").code == 0
    before = snapshot(tmp_path)
    outcome = command("train", "-m", *ONE, "seed=0,1", "hydra.sweep.dir=sweep")
    assert outcome.code == 1
    assert f"error: job 0 is not started: {tmp_path}/sweep/0 holds a run of " in outcome.err
    assert results(tmp_path / "sweep" / "1")["status"] == "completed"
    after = snapshot(tmp_path)
    assert {file: after[file] for file in before} == before
    assert "1 of 2 jobs are not completed" in outcome.out


@pytest.mark.slow
def test_a_completed_job_counts_only_with_its_own_settings(command, tmp_path):
    """The same folder for two jobs, which the start cannot see: an option of one of them names it."""
    options = tmp_path / "options" / "experiment"
    options.mkdir(parents=True)
    for name in "ab":
        content = f"# @package _global_\nhydra:\n  sweep:\n    subdir: x\nseed: {ord(name)}\n"
        (options / f"{name}.yaml").write_text(content)
    words = ["-m", "--config-dir", "options", "experiment=a,b", *ONE, "hydra.sweep.dir=sweep"]
    outcome = command("train", *words)
    assert outcome.code == 1, outcome.err
    assert results(tmp_path / "sweep" / "x")["experiment"] == "a"
    assert "job 1 is not started: " in outcome.err
    outcome = command("train", "sweep.resume=sweep")
    assert outcome.code == 1
    assert results(tmp_path / "sweep" / "x")["experiment"] == "a"


def test_a_sweep_that_is_named_otherwise_is_refused_as_well(command, tmp_path):
    sweep = tmp_path / "s_0"
    sweep.mkdir()
    (sweep / "multirun.yaml").write_text("{}")
    for word in ("hydra.sweep.dir=s_${seed}", "hydra.sweep.dir=x/../s_0", f"hydra.sweep.dir={os.path.realpath(sweep)}"):
        outcome = command("train", "-m", *ONE, "optimizer.lr=0.1,0.2", word)
        assert (outcome.code, outcome.err.count("\n")) == (1, 1), outcome.err
        assert "holds a sweep already; name another folder, or finish it with sweep.resume=" in outcome.err
    assert {path.name for path in sweep.iterdir()} == {"multirun.yaml"}
