"""The name, group and tags of a W&B run: what the user sets, else experiment, latent and seed."""

import json

import pytest

from discrete_latents.lightning_internals import wandb_settings
from discrete_latents.loggers import WandbRun

NAMES = {"experiment": "vae_digits", "latent": "rloo", "model": "categorical_vae"}
DEFAULTS = {
    "name": "vae_digits rloo seed 3",
    "group": "vae_digits",
    "tags": ["vae_digits", "rloo", "seed 3"],
}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_TAGS"):
        monkeypatch.delenv(name, raising=False)


def described(logger: WandbRun, names=NAMES) -> dict:
    logger.describe(names, 3)
    return {key: wandb_settings(logger).get(key) for key in DEFAULTS}


def test_a_run_has_a_name_group_and_tags_by_default(tmp_path):
    assert described(WandbRun(str(tmp_path), offline=True)) == DEFAULTS
    assert described(WandbRun(str(tmp_path), offline=True, tags=[])) == DEFAULTS


@pytest.mark.parametrize(
    ("key", "value"), [("name", "mine"), ("group", "mine"), ("tags", ["mine"]), ("tags", ["a", "b"])]
)
def test_what_the_user_sets_wins(tmp_path, key, value):
    assert described(WandbRun(str(tmp_path), offline=True, **{key: value})) == DEFAULTS | {key: value}


@pytest.mark.parametrize(
    ("variable", "key", "value"),
    [("WANDB_NAME", "name", "mine"), ("WANDB_RUN_GROUP", "group", "mine"), ("WANDB_TAGS", "tags", None)],
)
def test_so_do_the_variables_that_wandb_itself_reads(tmp_path, monkeypatch, variable, key, value):
    monkeypatch.setenv(variable, "mine")
    assert described(WandbRun(str(tmp_path), offline=True)) == DEFAULTS | {key: value}


def test_a_run_without_a_latent_is_named_without(tmp_path):
    found = described(WandbRun(str(tmp_path), offline=True), {"experiment": "mine"})
    assert found == {"name": "mine seed 3", "group": "mine", "tags": ["mine", "seed 3"]}


def test_what_is_too_long_for_wandb_is_cut(tmp_path):
    found = described(WandbRun(str(tmp_path), offline=True), {"experiment": "x" * 200, "latent": "rloo"})
    assert len(found["name"]) == 128
    assert max(map(len, found["tags"])) == 64


def test_a_run_that_goes_on_keeps_its_own(tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run.json").write_text(json.dumps({"id": "a", "name": "before", "group": None}))
    found = described(WandbRun(str(tmp_path), offline=True, resume=str(tmp_path)))
    assert found == {"name": "before", "group": None, "tags": None}
