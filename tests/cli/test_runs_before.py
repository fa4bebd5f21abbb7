"""Runs of the layout before: widths in `model.hidden`, networks by `_partial_`, moved classes, settings of another
schedule in `temperature`. They are resumed, evaluated and loaded as if this version had made them.

tests/data/runs_before holds one run of each model, and in resumed.json what that version itself came to when it resumed
them to five epochs.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from discrete_latents import load_run
from discrete_latents.config.instantiate import make
from discrete_latents.config.migration import MOVED, RENAMED, renamed, upgraded
from discrete_latents.data import digits
from discrete_latents.errors import UserError
from discrete_latents.networks import LinearNetwork
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.build import build_trainer, make_model
from discrete_latents.training.validate import check_settings
from tests.cli.conftest import Outcome, snapshot, weights

RUNS = Path(__file__).parents[1] / "data" / "runs_before"
NAMES = sorted(path.name for path in RUNS.iterdir() if path.is_dir())
RESUMED = json.loads((RUNS / "resumed.json").read_text())

pytestmark = [  # all are Lightning's
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),  # 7, where a row of metrics.csv is of 13 steps
]
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def run(name: str, tmp_path: Path) -> Path:
    """A copy of a run, which a test may write into."""
    return shutil.copytree(RUNS / name, tmp_path / "a run")


def config_of(name: str) -> Any:
    return OmegaConf.load(RUNS / name / ".hydra" / "config.yaml")


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def check_metrics(found: dict[str, float], expected: dict[str, float], exact: set[str]) -> None:
    """Metrics of the same weights. The draws are others than those of the version that made the runs (which had fewer
    bits), so what depends on them agrees within their error over 250 images, and what does not, to rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, **({"rel": 1e-5} if name in exact else {"abs": 0.15})), name


def test_the_runs_are_of_the_layout_before():
    assert NAMES == ["sbn_digits", "ssl_digits", "vae_digits"]
    for name in NAMES:
        config = config_of(name)
        assert config.model.network._partial_
        assert config.model.hidden == [4]
        assert config.logger.csv._target_ in MOVED
    assert config_of("ssl_digits").model.network._target_ in MOVED
    assert config_of("vae_digits").logger.wandb._target_ in MOVED
    assert {"rate", "period"} <= config_of("vae_digits").temperature.keys()


@each
def test_a_run_is_resumed_as_its_own_version_would(command: Callable[..., Outcome], name: str, run: Path):
    configuration = snapshot(run / ".hydra")
    outcome = command("train", f"resume='{run}'", "trainer.max_epochs=5")
    assert outcome.code == 0, outcome.err
    expected = RESUMED["runs"][name]
    assert results(run)["steps"] == expected["steps"]
    check_metrics(results(run)["metrics"], expected["metrics"], exact=set())
    after = snapshot(run / ".hydra")
    assert {name for name in after if after[name] != configuration[name]} == {"config.yaml"}
    config = RunDirectory(run).read_config()
    assert upgraded(config) is config
    assert config.trainer.max_epochs == 5


@each
def test_an_evaluation_repeats_the_numbers_of_the_run(command: Callable[..., Outcome], name: str, run: Path):
    before = snapshot(run)
    outcome = command("eval", f"run='{run}'")
    assert outcome.code == 0, outcome.err
    (folder,) = (run / "evaluations").iterdir()
    exact = {"vae_digits": {"test/kl"}, "ssl_digits": {"test/accuracy", "test/calibration_error"}}.get(name, set())
    check_metrics(results(folder)["metrics"], results(run)["metrics"], exact)
    assert {path: file for path, file in snapshot(run).items() if not path.startswith("evaluations")} == before


@each
def test_a_run_is_loaded_from_python(name: str):
    images = digits().test.grey[:5]
    for ckpt in ("best", "last"):
        run = load_run(RUNS / name, ckpt)
        assert {**run.model.state_dict()}.keys() == weights(RUNS / name / "checkpoints" / f"{ckpt}.ckpt").keys()
        if name == "vae_digits":
            assert run.encode(images).shape == (5, 3)
            assert run.sample(2).shape == (2, 1, 8, 8)
        elif name == "sbn_digits":
            assert run.complete(images, count=2).shape == (5, 2, 1, 8, 8)
        else:
            assert run.classify(images).shape == (5, 10)
    assert "hidden" not in run.config.model


@pytest.mark.parametrize("name", ["vae_digits"])
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.network.hidden=[8]", "another model or architecture"),
        ("model.network.activation=Tan", "model.network.activation must be the name of an activation"),
        ("model.hidden=[4]", "model.hidden is not a setting: it is model.network.hidden now"),
        ("temperature.start=-1", "temperature.start must be a number greater than 0"),
        ("temperature.rate=1", "temperature.rate is not a setting"),
        ("model/network=cnn", "a run keeps its own"),
    ],
)
@pytest.mark.parametrize("script", ["train", "eval"])
def test_a_mistake_about_a_run_of_before_is_one_line(command: Callable[..., Outcome], script, run, word, said):
    before = snapshot(run)
    outcome = command(script, f"{'run' if script == 'eval' else 'resume'}='{run}'", word)
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    kept = script == "train" and not re.search("is not a setting|keeps its own", said)
    assert (f"{word.replace('=', ' = ')}, where the run has" if kept else said) in outcome.err
    assert snapshot(run) == before


@pytest.mark.parametrize("name", ["vae_digits"])
def test_settings_of_a_run_of_before_are_changed_by_the_names_that_they_have_now(command, run):
    words = ["model.network.hidden=[4]", "model.num_latents=3", "eval_samples=3", "temperature.start=0.7"]
    outcome = command("eval", f"run='{run}'", *words)
    assert outcome.code == 0, outcome.err
    (folder,) = (run / "evaluations").iterdir()
    assert results(folder)["eval_samples"] == 3


@each
def test_the_layout_is_brought_up_to_date_once(name: str):
    config = upgraded(config_of(name))
    assert upgraded(config) is config
    assert not {"hidden", "decoder_hidden"} & config.model.keys()
    assert "_partial_" not in config.model.network
    linear = config.model.network._target_.endswith("LinearNetwork")
    assert ("hidden" in config.model.network) != linear
    config.paths.output_dir = "."
    model = make_model(config, (1, 8, 8))
    assert sum(isinstance(part, torch.nn.Linear) for part in model.modules()) >= 2
    assert build_trainer(config).loggers


@pytest.mark.parametrize(
    ("temperature", "kept"),
    [
        ({"_target_": "discrete_latents.latent.Constant", "start": 1.0, "rate": 1.0, "steps": 3}, {"start"}),
        ({"_target_": "discrete_latents.latent.Cosine", "start": 1.0, "period": 5, "steps": 3}, {"start", "steps"}),
        ({"_target_": "discrete_latents.latent.Constant", "start": 1.0, "own": 2}, {"start", "own"}),
        ({"_target_": "no.such.Class", "rate": 1.0}, {"rate"}),
    ],
)
def test_settings_of_another_schedule_go(temperature, kept):
    config = config_of("sbn_digits")
    config.temperature = temperature
    assert set(upgraded(config).temperature) - {"_target_"} == kept


@pytest.mark.parametrize("content", [{}, {"model": None}, {"model": [1]}, {"model": {"network": 3}}, {"model": "x"}])
def test_what_is_no_configuration_is_left_as_it_is(content):
    config = OmegaConf.create(content)
    assert upgraded(config) is config


@pytest.mark.parametrize("target", [target for target in MOVED if "networks" in target])
def test_a_moved_class_is_found_in_a_configuration_of_ones_own(target):
    config = OmegaConf.create({"model": {"_target_": "builtins.dict", "network": {"_target_": target}}})
    assert isinstance(make(config, "model")["network"], LinearNetwork)


@pytest.mark.parametrize("target", MOVED)
def test_a_moved_class_is_where_the_table_says(target):
    from pkgutil import resolve_name

    assert isinstance(resolve_name(MOVED[target]), type)
    with pytest.raises((ImportError, AttributeError)):
        resolve_name(target)


@pytest.mark.parametrize("former", RENAMED)
def test_a_former_name_of_a_setting_is_answered_with_the_present_one(command, former):
    said = f"error: {former} is not a setting: it is {RENAMED[former]} now\n"
    for word in (f"{former}=[8]", f"+{former}=[8]"):
        assert command("train", word).err == said
    assert renamed(f"{former}=[8]") == f"{RENAMED[former]}=[8]"


def test_a_model_of_ones_own_may_have_the_former_name():
    from discrete_latents.config.compose import composed

    config = composed(["+model.hidden=[8]", "paths.output_dir=."])
    with pytest.raises(UserError, match=r"^model\.hidden is not a setting"):
        check_settings(config)
    config.model._target_ = "my_package.MyModel"
    check_settings(config)
