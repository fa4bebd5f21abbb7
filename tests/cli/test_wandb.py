"""Weights & Biases: a real offline run, read back by its own reader, and its sweeps, run by its own agent."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from discrete_latents.config.compose import composed
from discrete_latents.loggers.wandb_run import WandbRun
from discrete_latents.training.build import make_model
from tests.cli.conftest import ROOT, SMALL, shell
from tests.cli.test_leaks import Service
from tests.cli.test_loggers import METRICS, PICTURES
from tests.helpers.witness import TESTS

OFFLINE = ["logger=[csv,wandb]", "logger.wandb.offline=true"]
SECRET = "0123456789abcdef" * 3
SWEEPS = sorted((ROOT / "configs" / "wandb").iterdir())

pytestmark = [  # both are Lightning's ModelCheckpoint's, of a run that is resumed
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


def own_folders(folder: Path) -> dict[str, str]:
    """Variables that keep what W&B writes beside a run out of the user's folders."""
    return {name: str(folder / "wandb home") for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    for name, value in own_folders(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> list[Path]:
    """Two jobs of one sweep, where an account is known."""
    cwd = tmp_path_factory.mktemp("jobs")
    words = [
        "hydra.sweep.dir=a sweep",
        "seed=0,1",
        "logger.wandb.tags=[paper,'${data.name}']",
        "logger.wandb.lowest=[val/nelbo,epoch]",
        "logger.wandb.highest=[val/reconstruction]",
        "callbacks.pictures.every_n_epochs=1",
    ]
    outcome = shell(
        "train.py", "-m", *SMALL, *OFFLINE, *words, cwd=cwd, WANDB_API_KEY=SECRET, **TESTS, **own_folders(cwd)
    )
    assert outcome.code == 0, outcome.out + outcome.err
    return [cwd / "a sweep" / "0", cwd / "a sweep" / "1"]


@pytest.fixture
def copied(jobs, tmp_path) -> Path:
    """A copy of the first job that a test may write into."""
    return shutil.copytree(jobs[0], tmp_path / "a run", symlinks=True)


def offline_runs(job: Path) -> list[Path]:
    """The folders of a job's W&B runs, the oldest first."""
    return sorted((job / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime)


def inspect(run: Path, *options: str) -> str:
    """What W&B's own reader finds."""
    wandb = Path(sys.executable).with_name("wandb")
    command = [str(wandb), "leet", "inspect", "--json", *options, str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def summarized(run: Path) -> dict[str, Any]:
    return json.loads(inspect(run, "--summary"))


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind, in order."""
    lines = [json.loads(line) for line in inspect(run).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def history(run: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in records(run, "history")]


@pytest.fixture(scope="module")
def first(jobs) -> Path:
    """The W&B run of the first job."""
    (only,) = offline_runs(jobs[0])
    return only


@pytest.fixture(scope="module")
def summary(first) -> dict[str, Any]:
    return summarized(first)


def test_it_has_the_whole_configuration_resolved(summary, jobs):
    config = summary["config"]
    assert config["seed"] == 0
    assert (config["experiment"], config["latent_name"]) == ("vae_digits", "gumbel_softmax")
    assert config["model"]["num_latents"] == 3
    assert config["model"]["network"]["hidden"] == [16]
    assert config["latent"]["_target_"] == "discrete_latents.latent.GumbelSoftmax"
    assert config["latent"]["temperature"] == config["temperature"]
    assert config["paths"]["output_dir"] == str(jobs[0])
    assert "${" not in json.dumps(config)


def test_it_has_every_metric_and_is_closed(summary):
    assert summary["summary"].keys() >= METRICS
    assert (summary["state"], summary["exit_code"]) == ("finished", 0)


def test_it_has_the_history_of_every_epoch(first):
    rows = history(first)
    for name in ("val/nelbo", "val/code_shares._type", "temperature", "train/relaxed_nelbo"):
        assert [row["trainer/global_step"] for row in rows if name in row] == [12, 25], name
    assert [row["trainer/global_step"] for row in rows if "images/samples._type" in row] == [13, 26, 26]
    assert len([row for row in rows if "test/nll" in row]) == 1


def test_its_summary_has_the_best_values_beside_the_last(summary, first):
    rows = history(first)
    logged = summary["summary"]
    for name, best in (("val/nelbo", min), ("epoch", min), ("val/reconstruction", max)):
        values = [row[name] for row in rows if name in row]
        assert logged[name] == {best.__name__: best(values), "last": values[-1]}
    assert logged["epoch"]["min"] < logged["epoch"]["last"]
    assert logged["val/reconstruction"]["max"] > logged["val/reconstruction"]["last"]
    assert isinstance(logged["val/kl"], float)


def test_it_has_the_pictures_of_the_run(summary, first, jobs):
    for name in PICTURES:
        logged = first / "files" / summary["summary"][f"images/{name}"]["path"]
        assert logged.read_bytes() == (jobs[0] / "images" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("split", ["val", "test"])
def test_it_has_a_histogram_of_the_code_usage(summary, split):
    logged = summary["summary"][f"{split}/code_shares"]
    assert logged["_type"] == "histogram"
    assert np.allclose(logged["bins"], np.linspace(0, 1, 51))
    counts, centres = np.array(logged["values"]), np.arange(0.01, 1, 0.02)
    assert counts.sum() == 3 * 4  # the classes of all latents
    assert counts @ centres == pytest.approx(3, abs=0.01 * 12)  # the shares of a latent's classes are 1 together


def test_every_job_of_a_sweep_is_a_run_of_its_own(summary, jobs):
    (second,) = offline_runs(jobs[1])
    other = summarized(second)
    assert other["run_id"] != summary["run_id"]
    assert other["config"]["seed"] == 1
    assert other["state"] == "finished"


def test_a_job_is_named_by_what_it_varies_and_grouped_by_its_sweep(jobs):
    for seed, job in enumerate(jobs):
        (run,) = offline_runs(job)
        (record,) = records(run, "run")[:1]
        assert (record["display_name"], record["run_group"]) == (f"seed={seed}", "a sweep")
        assert record["tags"] == ["paper", "digits"]


def test_a_run_alone_has_a_name_a_group_and_tags(command, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = ["debug=one_batch", *SMALL, "logger=[wandb]", "latent=rloo", "seed=3", "hydra.run.dir=run"]
    assert command("train", *words).code == 0
    (run,) = offline_runs(tmp_path / "run")
    (record,) = records(run, "run")[:1]
    assert (record["display_name"], record["run_group"]) == ("vae_digits rloo seed 3", "vae_digits")
    assert sorted(record["tags"]) == ["rloo", "seed 3", "vae_digits"]


def test_no_secret_is_written(jobs):
    written = [path for path in jobs[0].parent.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in written)
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
def test_no_secret_is_in_the_console_log(tmp_path):
    service = [f"+callbacks.service._target_={Service.__module__}.Service", f"+callbacks.service.api_key={SECRET}"]
    words = [*SMALL, *OFFLINE, *service, "trainer.max_epochs=1", "hydra.run.dir=run"]
    outcome = shell("train.py", *words, cwd=tmp_path, **TESTS, **own_folders(tmp_path))
    assert outcome.code == 0, outcome.err
    (log,) = (tmp_path / "run").rglob("output.log")
    assert "trains as ***" in log.read_text()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_resumed_run_goes_on_in_its_wandb_run(command, copied, first):
    outcome = command("train", f"resume={copied}", "trainer.max_epochs=3")
    assert outcome.code == 0, outcome.err
    before, after = offline_runs(copied)
    (old,), (new,) = (records(run, "run")[:1] for run in (before, after))
    assert new["resume"]
    for kept in ("run_id", "display_name", "run_group", "project", "tags"):
        assert new[kept] == old[kept]
    assert [row["trainer/global_step"] for row in history(after) if "val/nelbo" in row] == [38]
    assert (before / f"run-{old['run_id']}.wandb").read_bytes() == (first / f"run-{old['run_id']}.wandb").read_bytes()


def test_a_run_without_a_trace_of_its_wandb_run_resumes_in_a_new_one(command, copied, first):
    shutil.rmtree(copied / "wandb")
    outcome = command("train", f"resume={copied}", "trainer.max_epochs=3")
    assert outcome.code == 0, outcome.err
    (only,) = offline_runs(copied)
    assert only.name.split("-")[-1] != first.name.split("-")[-1]


def test_a_run_in_the_folder_of_another_that_is_not_resumed_is_a_run_of_its_own(copied):
    assert WandbRun(str(copied), "discrete_latents", resume=None).version is None
    assert WandbRun(str(copied), "discrete_latents", resume=str(copied)).version is not None


def test_an_evaluation_starts_no_wandb_run(command, copied):
    outcome = command("eval", f"run={copied}")
    assert outcome.code == 0, outcome.err
    assert len(list(copied.rglob("*.wandb"))) == 1


def test_figures_and_accuracy_of_a_classifier(command, tmp_path):
    words = ["experiment=ssl_digits", "debug=one_batch", *OFFLINE]
    outcome = command("train", *words, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    (run,) = offline_runs(tmp_path / "run")
    logged = summarized(run)["summary"]
    assert logged["val/accuracy"].keys() == {"max", "last"}
    assert logged["val/nelbo"].keys() == {"min", "last"}
    confusion = run / "files" / logged["images/confusion"]["path"]
    assert confusion.read_bytes() == (tmp_path / "run" / "images" / "confusion.png").read_bytes()


def test_a_run_that_fails_is_marked_as_failed(command, tmp_path):
    words = [*SMALL, *OFFLINE, "optimizer.lr=1e30"]
    outcome = command("train", *words, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    (run,) = offline_runs(tmp_path / "run")
    logged = summarized(run)
    assert (logged["state"], logged["exit_code"]) == ("failed", 1)


def test_checkpoints_become_artifacts(command, tmp_path):
    # Offline by an argument of wandb.init, so that what would be uploaded is recorded.
    words = ["debug=one_batch", *SMALL, "logger=[wandb]", "+logger.wandb.mode=offline", "logger.wandb.log_model=true"]
    outcome = command("train", *words, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 0, outcome.err
    (run,) = offline_runs(tmp_path / "run")
    best, last = records(run, "artifact")
    assert (set(best["aliases"]), set(last["aliases"])) == ({"latest", "best"}, {"latest"})
    for artifact, name in ((best, "best"), (last, "last")):
        (content,) = artifact["manifest"]["contents"]
        assert Path(content["local_path"]).read_bytes() == (tmp_path / f"run/checkpoints/{name}.ckpt").read_bytes()


@pytest.mark.parametrize("how", ["offline", "WANDB_MODE"])
def test_artifacts_offline_are_refused_in_one_line(command, tmp_path, monkeypatch, how):
    words = ["logger=[wandb]", "logger.wandb.log_model=true"]
    if how == "offline":
        words.append("logger.wandb.offline=true")
    else:
        monkeypatch.setenv("WANDB_MODE", "offline")
    outcome = command("train", *words, f"hydra.run.dir={tmp_path}/run")
    assert outcome.code == 1
    assert outcome.err == (
        "error: logger.wandb.log_model must be false where W&B is offline, since it uploads, got True\n"
    )


@pytest.mark.slow
def test_without_an_account_there_is_one_line_that_says_what_helps(tmp_path):
    words = ["debug=one_batch", *SMALL, "logger=[csv,wandb]", "hydra.run.dir=run"]
    outcome = shell("train.py", *words, cwd=tmp_path, HOME=str(tmp_path), WANDB_API_KEY="", **own_folders(tmp_path))
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: logger.wandb: ")
    assert "wandb login" in outcome.err.splitlines()[-1]
    assert "logger.wandb.offline=true" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_run_without_it_does_not_import_it(tmp_path):
    outcome = shell("train.py", "debug=one_batch", *SMALL, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert outcome.code == 0, outcome.err
    imported = {line.split("|")[-1].strip() for line in outcome.err.splitlines() if line.startswith("import time:")}
    assert "lightning.pytorch.loggers.wandb" in imported
    assert "torchmetrics" in imported
    assert "scipy.signal" not in imported
    assert "wandb" not in imported


@pytest.mark.slow
def test_two_processes_log_one_run(tmp_path):
    words = [*SMALL, *OFFLINE, "trainer=ddp_sim", "trainer.log_every_n_steps=7", "hydra.run.dir=run"]
    outcome = shell("train.py", *words, cwd=tmp_path, **own_folders(tmp_path))
    assert outcome.code == 0, outcome.err
    (run,) = offline_runs(tmp_path / "run")
    assert len(list(tmp_path.rglob("*.wandb"))) == 1
    assert [row["trainer/global_step"] for row in history(run) if "val/nelbo" in row] == [6, 13]
    assert sum(summarized(run)["summary"]["val/code_shares"]["values"]) == 3 * 4


def values(parameter: dict[str, Any]) -> list[Any]:
    """The values of a sweep's parameter, or the ends of its range."""
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def overrides(config: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """What a sweep's command gives train.py."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args  # takes seconds to import

    words = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
    return [word for word in config["command"] if not word.startswith("${")] + words["args_no_hyphens"]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_value_of_a_sweep_makes_a_model(path):
    config = yaml.safe_load(path.read_text())
    everything = {name: values(parameter) for name, parameter in config["parameters"].items()}
    for index in range(max(len(each) for each in everything.values())):
        words = overrides(config, {name: each[index % len(each)] for name, each in everything.items()})
        run = composed(words)
        make_model(run, (1, 28, 28))
        assert config["metric"]["name"] == run.callbacks.checkpoint.monitor
        assert config["metric"]["goal"] == f"{run.callbacks.checkpoint.mode}imize"


AGENT = """
import json, sys
from wandb.sdk.launch.sweeps.utils import load_sweep_config
from wandb.wandb_agent import Agent

config = load_sweep_config(sys.argv[1])
agent = Agent(None, None)
agent._sweep_command = config["command"]
agent._command_run({"run_id": "run12345", "program": config["program"], "args": json.loads(sys.argv[2])})
(process,) = agent._run_processes.values()
sys.exit(process.wait())
"""
"""What `wandb agent` does when the server sends it a run."""


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_agents_command_runs_as_written(path, tmp_path):
    config = yaml.safe_load(path.read_text())
    drawn = {name: values(parameter)[-1] for name, parameter in config["parameters"].items()}
    small = {"data": "digits", "trainer.max_epochs": 1, "eval_samples": 2, "hydra.run.dir": "run"}
    sent = json.dumps({name: {"value": value} for name, value in (drawn | small).items()})
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    settings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "WANDB_SWEEP_ID": "sweep123",
    }
    done = subprocess.run(
        [sys.executable, "-c", AGENT, str(path), sent],
        cwd=tmp_path,
        env=os.environ | settings | own_folders(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (run,) = offline_runs(tmp_path / "run")
    logged, record = summarized(run), records(run, "run")[0]
    assert (logged["run_id"], record["sweep_id"]) == ("run12345", "sweep123")
    assert logged["config"].items() >= drawn.items()
    assert "val/nelbo" in logged["summary"]
    assert logged["state"] == "finished"


CHECK = """
import json, sys, sweeps, yaml
config = yaml.safe_load(open(sys.argv[1]))
wrong = config | {"method": "best", "parameters": {"seed": {"numbers": [0]}}}
print(json.dumps([sweeps.schema_violations_from_proposed_config(each) for each in (config, wrong)]))
"""


@pytest.fixture(scope="module")
def schema(tmp_path_factory) -> Path:
    """A folder with W&B's sweep engine, which holds the schema, and would not go beside numpy 2 by its own pins."""
    folder = tmp_path_factory.mktemp("sweeps")
    packages = [
        "sweeps==0.3.0",
        "jsonschema",
        "jsonschema-specifications",
        "referencing",
        "rpds-py",
        "attrs",
        "jsonref",
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*pip, *packages], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("W&B's sweep engine cannot be fetched from here")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_what_wandb_accepts(path, schema):
    command = [sys.executable, "-W", "ignore", "-c", CHECK, str(path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(schema)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    violations, of_a_wrong_one = json.loads(done.stdout)
    assert violations == []
    assert len(of_a_wrong_one) >= 2
