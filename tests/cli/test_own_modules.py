"""Models and data of the user's own, which know nothing of this package, through train.py (rule 3 of the layout: a
model takes what it names)."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.errors import UserError
from discrete_latents.summary.finished_runs import find
from tests.cli.conftest import ROOT, Outcome, same_bits, shell, weights
from tests.helpers.tables import one_in, rest_is_slow

QUICK = ["trainer.max_epochs=2", "trainer.log_every_n_steps=2", "+trainer.enable_progress_bar=false"]
OURS = ["model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]", "eval_samples=20"]
FILES = {
    "model/mine": "_target_: tests.helpers.theirs.Classifier\nhidden: [16]\nclasses: 4\nlr: 0.01",
    "model/asking": "_target_: tests.helpers.theirs.Asking",
    "model/boring": "_target_: lightning.pytorch.demos.boring_classes.BoringModel",
    "model/without_test": "_target_: tests.helpers.theirs.WithoutTest",
    "model/faulty": "_target_: tests.helpers.theirs.Faulty",
    "model/refusing": "_target_: tests.helpers.theirs.Refusing\nwidth: 1",
    "data/theirs": "_target_: tests.helpers.theirs.Corners",
    "data/boring": "_target_: lightning.pytorch.demos.boring_classes.BoringDataModule",
    "data/one_loader": "_target_: tests.helpers.theirs.training_loader",
    "data/three_loaders": "_target_: tests.helpers.theirs.loaders",
    "data/named_loaders": """
_target_: discrete_latents.data.Loaders
train:
  _target_: torch.utils.data.DataLoader
  dataset: {_target_: tests.helpers.theirs.corners}
  batch_size: 16
  shuffle: true
  num_workers: 1
val:
  _target_: torch.utils.data.DataLoader
  dataset: {_target_: tests.helpers.theirs.corners, part: 1}
  batch_size: 16
""",
    "data/plain_loader": """
_target_: torch.utils.data.DataLoader
dataset: {_target_: tests.helpers.theirs.OnlyImages}
batch_size: 16
""",
}
TRUST = "trust=[tests]"
PATH = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

pytestmark = pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`")  # Lightning's


def write_options(folder: Path) -> None:
    """Writes FILES, for --config-dir."""
    for name, text in FILES.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.strip() + "\n")


@pytest.fixture
def train(command: Callable[..., Outcome], tmp_path: Path) -> Callable[..., Outcome]:
    """Runs train.py with the options of a folder of the user's own, in the folder `run`."""
    write_options(tmp_path / "options")

    def call(*words: str, run: str | None = "run") -> Outcome:
        folder = [f"hydra.run.dir={tmp_path / run}"] if run else []
        flags = [word for word in words if word == "-m"]
        overrides = [word for word in words if word not in flags]
        return command("train", *flags, "--config-dir", str(tmp_path / "options"), *QUICK, *overrides, *folder)

    return call


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    ("words", "metrics"),
    rest_is_slow(
        [
            ("model=mine data=theirs", {"test_acc"}),
            ("model=mine data=one_loader", set()),
            ("model=mine data=three_loaders", {"test_acc"}),
            ("model=mine data=named_loaders", set()),
            ("model=boring data=boring", set()),
            ("model=without_test data=boring", set()),
        ],
        2,
    ),
)
def test_a_module_and_data_of_others_train_and_are_tested(train, tmp_path, words, metrics):
    outcome = train(*words.split())
    assert outcome.code == 0, outcome.err
    found = results(tmp_path / "run")
    assert found["status"] == "completed"
    assert found["metrics"].keys() == metrics
    assert found["latent"] == "none"
    assert found["experiment"] == "+".join(word.partition("=")[2] for word in words.split())
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert not (tmp_path / "run" / "images").exists()


def test_it_resumes_exactly_after_its_epochs(train, command, tmp_path):
    """Weights, Adam, the scheduler, dropout and the order of the loader."""
    own = ["model=mine", "data=theirs", TRUST]
    assert train(*own, "trainer.max_epochs=4", run="whole").code == 0
    assert train(*own, run="parts").code == 0
    outcome = command("train", f"resume={tmp_path / 'parts'}", "trainer.max_epochs=4", TRUST)
    assert outcome.code == 0, outcome.err
    last = [torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True) for run in ("whole", "parts")]
    assert same_bits(*(state["state_dict"] for state in last))
    assert last[0]["lr_schedulers"] == last[1]["lr_schedulers"]
    metrics = [results(tmp_path / run)["metrics"] for run in ("whole", "parts")]
    assert metrics[0] == metrics[1]


@pytest.mark.slow
def test_killed_within_an_epoch_it_ends_as_one_that_was_not(tmp_path):
    """With workers. Between two checkpoints of epochs' ends nothing counts."""
    write_options(tmp_path / "options")
    words = ["--config-dir", str(tmp_path / "options"), *QUICK, "model=mine", "data=theirs", "+data.workers=1"]
    words += ["trainer.max_epochs=20", "callbacks.checkpoint.monitor=val_acc", "callbacks.checkpoint.mode=max"]
    whole = shell("train.py", *words, f"hydra.run.dir={tmp_path}/whole", cwd=tmp_path, PYTHONPATH=PATH)
    assert whole.code == 0, whole.err
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATH}
    command = [sys.executable, str(ROOT / "train.py"), *words, f"hydra.run.dir={tmp_path}/killed"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert torch.load(last, weights_only=True)["epoch"] < 19
    resumed = shell("train.py", f"resume={tmp_path}/killed", TRUST, cwd=tmp_path, PYTHONPATH=PATH)
    assert resumed.code == 0, resumed.err
    assert same_bits(*(weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", "killed")))
    assert results(tmp_path / "whole")["metrics"] == results(tmp_path / "killed")["metrics"]


@pytest.mark.slow
def test_two_processes_train_test_and_resume_it(tmp_path):
    """Each on its half of the data, by Lightning's own samplers. Resumed from the checkpoint of half the epochs."""
    write_options(tmp_path / "options")
    words = ["--config-dir", str(tmp_path / "options"), *QUICK, "model=mine", "data=theirs", "trainer=ddp_sim"]
    words += ["trainer.max_epochs=4", "+callbacks.kept._target_=tests.helpers.witness.Kept"]
    outcome = shell("train.py", *words, f"hydra.run.dir={tmp_path}/whole", cwd=tmp_path, PYTHONPATH=PATH)
    assert outcome.code == 0, outcome.err
    parts = shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (parts / "results.json").unlink()
    (parts / "kept.ckpt").rename(parts / "checkpoints" / "last.ckpt")
    outcome = shell("train.py", f"resume={tmp_path}/parts", TRUST, cwd=tmp_path, PYTHONPATH=PATH)
    assert outcome.code == 0, outcome.err
    assert (parts / "kept.ckpt").is_file()  # it went on after the second epoch
    assert same_bits(*(weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", "parts")))
    assert results(tmp_path / "whole")["metrics"] == results(tmp_path / "parts")["metrics"]
    assert results(tmp_path / "whole")["steps"] == 4 * 64 // (2 * 16)


@pytest.mark.slow
def test_the_best_by_its_own_validation_is_tested_and_eval_agrees(train, command, tmp_path):
    assert (
        train("model=mine", "data=theirs", "callbacks.checkpoint.monitor=val_acc", "callbacks.checkpoint.mode=max").code
        == 0
    )
    for split in ("test", "val"):
        outcome = command("eval", f"run={tmp_path / 'run'}", f"split={split}", TRUST)
        assert outcome.code == 0, outcome.err
    tested, validated = (results(path) for path in sorted((tmp_path / "run" / "evaluations").iterdir()))
    assert tested["metrics"] == results(tmp_path / "run")["metrics"]
    assert validated["metrics"].keys() == {"val_acc"}


@pytest.mark.parametrize(
    ("words", "said"),
    rest_is_slow(
        [
            (
                "model=mine data=theirs callbacks.checkpoint.monitor=val_los",
                "callbacks.checkpoint.monitor must be a metric",
            ),
            ("model=mine data=theirs callbacks.checkpoint.monitor=train_los", "train_los"),
            ("model=mine data=theirs compile=true", "compile must be false for a Classifier"),
            ("model=mine data=theirs model.widht=3", "model.widht is not a setting"),
            ("model=mine data=theirs +model.widht=3", "widht"),
            ("model=mine data=theirs model.hiden=3", "model.hiden is not a setting: did you mean model.hidden"),
            ("model=mine data=theirs data.workers=1", "add it with a plus, as +data.workers=1"),
            ("model=refusing data=boring model.width=0", "error: model.width must be at least 1, got 0"),
            (
                "model=mine data=theirs model._target_=no_such.Model",
                "model._target_ = no_such.Model: there is no module no_such",
            ),
            (
                "model=mine data=theirs model._target_=tests.helpers.theirs.Clasifier",
                "theirs.py) has no Clasifier; did you mean Classifier?",
            ),
            (
                "model=mine data=theirs model._target_=collections.Counter ~model.hidden",
                "model must be a LightningModule",
            ),
            (
                "model=mine data=theirs data._target_=collections.Counter",
                "data must be a LightningDataModule, or DataLoaders",
            ),
        ],
        4,
    ),
)
def test_a_setting_that_cannot_be_right_is_one_line(train, words, said):
    outcome = train(*words.split())
    assert outcome.code == 1
    assert said in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("words", "error", "where"),
    [
        ("model=faulty data=boring", IndexError, "training_step"),
        ("model=refusing data=boring model.width=7", IndexError, "__init__"),
    ],
)
def test_a_bug_keeps_its_traceback(train, words, error, where):
    with pytest.raises(error) as caught:
        train(*words.split())
    assert where in [entry.name for entry in caught.traceback]


OWN_PARTS = """
import torch
from discrete_latents import data, likelihoods, models, networks
import lightning.pytorch as pl

def bug():
    return torch.zeros(2) @ torch.zeros(3)  # a RuntimeError; int("x") is a ValueError, [][0] an IndexError

def source():
    return int("x")

def tensor_source():
    bug()

class Network(networks.MLP):
    def encoder(self, shape, units):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, units))

class WrongNetwork(networks.MLP):
    def encoder(self, shape, units):
        return [][0]

class Likelihood(likelihoods.Bernoulli):
    def log_prob(self, x, output):
        return int("x")

class Model(models.CategoricalVAE):
    def objective(self, batch):
        return [][0]

class Callback(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        bug()
"""


@pytest.mark.parametrize(
    ("words", "where"),
    rest_is_slow(
        [
            ("data.source._target_=own_parts.source", "source"),
            ("data.source._target_=own_parts.tensor_source", "tensor_source"),
            ("model.network._target_=own_parts.WrongNetwork", "encoder"),
            ("model.likelihood._target_=own_parts.Likelihood", "log_prob"),
            ("model._target_=own_parts.Model", "objective"),
            ("+callbacks.own._target_=own_parts.Callback", "on_train_epoch_end"),
        ],
        2,
    ),
)
def test_a_bug_in_a_part_of_ones_own_keeps_its_traceback(train, tmp_path, monkeypatch, words, where):
    (tmp_path / "own_parts.py").write_text(OWN_PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((ValueError, RuntimeError, IndexError)) as caught:
        train(*words.split(), *OURS)
    entries = [(entry.path.name, entry.name) for entry in caught.traceback if hasattr(entry.path, "name")]
    assert ("own_parts.py", where) in entries


def test_pictures_that_cannot_be_drawn_are_a_warning_and_the_results_stand(train, tmp_path, monkeypatch):
    text = OWN_PARTS.replace("def objective(self, batch)", "def pictures(self, batch)")
    figures = "\n\n    def figures(self):\n        raise KeyError('no figure')\n"
    (tmp_path / "own_parts.py").write_text(
        text.replace("return [][0]\n\nclass Callback", f"return [][0]{figures}\nclass Callback")
    )
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = train("model._target_=own_parts.Model", "callbacks.pictures.every_n_epochs=1", *OURS)
    assert outcome.code == 0, outcome.err
    assert results(tmp_path / "run")["status"] == "completed"
    for said in ("IndexError: list index out of range", "KeyError: 'no figure'"):
        assert outcome.err.count(f"a picture cannot be drawn: {said} (train.log has more)") == 1
    assert "Traceback" not in outcome.err
    log = (tmp_path / "run" / "train.log").read_text()
    assert "Traceback" in log
    assert "own_parts.py" in log


BROKEN = {
    "imports_nothing": ("import no_such_package\nModel = object", "line 1: No module named 'no_such_package'"),
    "imports_wrongly": ("from torch import no_such_name\nModel = object", "line 1: cannot import name 'no_such_name'"),
    "is_wrong": ("Model = 1 / 0", None),
    "does_not_parse": ("Model = (", None),
}


@pytest.mark.parametrize("name", one_in(3, list(BROKEN)))
def test_a_module_whose_import_fails_says_where(train, tmp_path, monkeypatch, name):
    """An import that fails is one line with its place in the user's file; a bug keeps its traceback."""
    text, said = BROKEN[name]
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["model=boring", "data=boring", f"model._target_={name}.Model"]
    if said is None:
        with pytest.raises((ZeroDivisionError, SyntaxError)):
            train(*words)
        return
    outcome = train(*words)
    assert outcome.code == 1
    assert f"model._target_ = {name}.Model: {name} fails to be imported, in {tmp_path}/{name}.py, {said}" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("words", rest_is_slow(["optimizer.lr=-1", "model._target_=no_such.Model", "+no_setting=1"], 1))
def test_traceback_shows_where_a_setting_was_refused(train, words):
    plain, shown = train(words, run="plain"), train(words, "traceback=true", run="shown")
    assert plain.code == shown.code == 1
    assert "Traceback" not in plain.err
    assert "Traceback (most recent call last)" in shown.err
    assert plain.err.splitlines()[-1] == shown.err.splitlines()[-1]


LOADERS = ["theirs", "plain_loader", "three_loaders", "named_loaders", "one_loader"]


@pytest.mark.parametrize("data", rest_is_slow(LOADERS, 2))
def test_a_model_of_this_package_takes_the_batches_of_other_loaders(train, tmp_path, data):
    outcome = train(f"data={data}", *OURS, "model/likelihood=bernoulli")
    assert outcome.code == 0, outcome.err
    tested = results(tmp_path / "run")["metrics"]
    assert ("test/nll" in tested) == (data in ("theirs", "three_loaders"))


def test_a_model_of_others_takes_the_data_of_this_package(train, tmp_path):
    outcome = train("model=mine", "data=digits", "model.classes=10")
    assert outcome.code == 0, outcome.err
    assert results(tmp_path / "run")["data"] == {"name": "digits", "binarization": "fixed"}
    assert results(tmp_path / "run")["metrics"]["test_acc"] > 0.3


@pytest.mark.slow
def test_a_sweep_over_its_settings_is_summarised(train, tmp_path):
    sweep = tmp_path / "sweep"
    outcome = train("-m", "model=mine", "data=theirs", "model.lr=0.01,0.001", f"hydra.sweep.dir={sweep}", run=None)
    assert outcome.code == 0, outcome.err
    runs, refused = find([sweep])
    assert not refused
    assert [run.settings["model.lr"] for run in runs] == [0.01, 0.001]
    assert all("test_acc" in run.metrics for run in runs)


@pytest.mark.filterwarnings("ignore:.*is already saved during checkpointing")
def test_a_module_is_given_what_its_signature_asks_for(train, command, tmp_path):
    """Of another base and without settings: the estimator that was chosen and the shape of the data's images."""
    outcome = train("model=asking", "data=theirs", "latent=st_gumbel", "temperature=linear")
    assert outcome.code == 0, outcome.err
    assert "not used, since Asking does not ask for it: optimizer" in outcome.err
    assert "checkpoints are without the hyperparameters that are no plain values: estimator" in outcome.err
    assert results(tmp_path / "run")["latent"] == "st_gumbel"
    table = (tmp_path / "run" / "metrics.csv").read_text()
    assert "temperature" in table.splitlines()[0]
    resumed = command("train", f"resume={tmp_path / 'run'}", "trainer.max_epochs=3", TRUST)
    assert resumed.code == 0, resumed.err
    with pytest.raises(UserError, match="do not tell the shape of x"):
        load_run(tmp_path / "run", trust=["tests"])


def test_load_run_gives_the_trained_module(train, tmp_path):
    assert train("model=mine", "data=theirs").code == 0
    with pytest.raises(UserError, match=r"model\._target_ = .* is refused"):
        load_run(tmp_path / "run")
    run = load_run(tmp_path / "run", trust=["tests"])
    assert same_bits(run.model.state_dict(), weights(tmp_path / "run" / "checkpoints" / "best.ckpt"))
    with pytest.raises(TypeError, match="a Classifier does not encode"):
        run.encode(torch.zeros(1, 1, 8, 8))


@pytest.mark.slow
def test_over_all_estimators_what_does_not_apply_is_listed_and_the_code_is_0(command, tmp_path):
    """`-m latent='glob(*)'`, also where none of the hard estimators can take the temperature."""
    words = ["latent=glob(d*)", "temperature=constant,learned", f"hydra.sweep.dir={tmp_path}/sweep"]
    outcome = command("train", "-m", *words, *OURS, "debug=one_batch", "+trainer.enable_progress_bar=false")
    assert outcome.code == 0, outcome.err
    status = [json.loads(path.read_text())["status"] for path in (tmp_path / "sweep").glob("*/results.json")]
    assert sorted(set(status)) == ["completed", "not applicable"]
    assert "(latent=disarm temperature=constant) is not applicable: CategoricalVAE with DisARM" in outcome.out
    assert "temperature=learned) is not applicable: temperature must be a number or a schedule" in outcome.out
