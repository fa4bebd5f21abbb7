"""The W&B project: the setting, else the variable that W&B itself reads, else discrete_latents."""

import json

import pytest

from discrete_latents.lightning_internals import wandb_settings
from discrete_latents.loggers import WandbRun


@pytest.mark.parametrize(
    ("setting", "variable", "project"),
    [
        (None, None, "discrete_latents"),
        (None, "mine", "mine"),
        ("set", None, "set"),
        ("set", "mine", "set"),
        (None, "", "discrete_latents"),
    ],
)
def test_the_project_is_the_setting_else_the_variable(tmp_path, monkeypatch, setting, variable, project):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    assert wandb_settings(WandbRun(str(tmp_path), setting, offline=True))["project"] == project


def test_a_resumed_run_stays_in_its_project(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run.json").write_text(json.dumps({"project": "before", "id": "a"}))
    logger = WandbRun(str(tmp_path), offline=True, resume=str(tmp_path))
    assert wandb_settings(logger)["project"] == "before"
