"""What a command line changes in a run that it resumes: refused or written down, and a repeated value is no change."""

import json

import pytest
from omegaconf import OmegaConf

from discrete_latents.config.changes import HISTORY, changed_before, changes_on_resume
from discrete_latents.config.compose import composed
from discrete_latents.config.saved import checked_config, repeatable
from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def saved():
    return composed([])


@pytest.fixture
def changed(saved, tmp_path):
    """Gives `changed({name: value})`: what overrides of a resumed run change; a value of ... deletes."""

    def call(overrides, saved=saved):
        config = saved.copy()
        OmegaConf.set_struct(config, False)
        for name, value in overrides.items():
            parent, _, last = name.rpartition(".")
            if value is ...:
                del (OmegaConf.select(config, parent) if parent else config)[last]
            else:
                OmegaConf.update(config, name, value, force_add=True)
        config.resume = str(tmp_path)
        return changes_on_resume(RunDirectory(tmp_path), saved, config)

    return call


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("optimizer.lr", 0.3, "0.001"),
        ("lr_schedule.hold", 0.2, "0.5"),
        ("data.binarization", "threshold", "fixed"),
        ("data.batch_size", 7, "100"),
        ("data.labelled", 5, "null"),
        ("trainer.precision", "bf16-mixed", "32-true"),
        ("trainer.gradient_clip_val", 1.0, "null"),
        ("trainer.accumulate_grad_batches", 2, "nothing"),
        ("trainer.limit_val_batches", 0, "nothing"),
        ("trainer.check_val_every_n_epoch", 2, "1"),
        ("model.num_latents", 3, "20"),
        ("model.network.hidden", [8], "["),
        ("latent.kl", "relaxed", "analytic"),
        ("temperature.rate", 0.5, "0.001"),
        ("temperature", 0.5, "{"),
        ("callbacks.checkpoint.monitor", "val/kl", "val/nelbo"),
        ("callbacks.checkpoint.dirpath", "elsewhere", "${paths.output_dir}/checkpoints"),
        ("callbacks.checkpoint", ..., "{"),
        ("callbacks.temperature", ..., "{"),
        ("callbacks", ..., "{"),
        ("callbacks", None, "{"),
        ("seed", 3, "0"),
        ("paths.output_dir", "elsewhere", "${hydra:runtime.output_dir}"),
        (HISTORY, [], "nothing"),
        ("made_up", 1, "nothing"),
    ],
)
def test_what_decides_the_numbers_of_a_run_cannot_change(changed, saved, name, value, before):
    with pytest.raises(UserError) as caught:
        changed({name: value, "trainer.max_epochs": 7})
    said = str(caught.value)
    given = {...: "nothing", None: "null"}.get(value if value in (..., None) else "", str(value))
    assert f": {name} = {given}, where the run has {before}" in said
    assert "except trainer.max_epochs, " in said
    assert "trainer.max_epochs = " not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trainer.max_epochs", 200),
        ("trainer.max_steps", 10),
        ("trainer.max_time", "00:01:00:00"),
        ("trainer.devices", 2),
        ("trainer.strategy", {"_target_": "lightning.pytorch.strategies.DDPStrategy"}),
        ("trainer.log_every_n_steps", 1),
        ("logger.tensorboard", {"_target_": "lightning.pytorch.loggers.TensorBoardLogger"}),
        ("logger.csv", ...),
        ("callbacks.progress", ...),
        ("callbacks.pictures.every_n_epochs", 1),
        ("callbacks.checkpoint.every_n_steps", 5),
        ("eval_samples", 7),
        ("steps_per_loop", 1),
        ("compile", True),
        ("paths.data_dir", "/elsewhere"),
    ],
)
def test_what_may_change_is_written_into_the_configuration_with_its_step(changed, saved, tmp_path, name, value):
    changes = changed({name: value})
    assert list(changes.changed) == [name]
    changes.write(26)
    run = RunDirectory(tmp_path)
    ((record),) = run.read_config()[HISTORY]
    assert record["step"] == 26
    to = record["changes"][name].get("to", ...)
    assert to == (json.dumps(value) if isinstance(value, dict) else value)
    checked_config(run)  # what was changed is no part of what a configuration names
    again = changed({name: value}, run.read_config()) if value is not ... else changed({}, run.read_config())
    assert again.changed == {}
    assert run.read_config().resume is None


def test_a_repeated_value_is_no_change_also_where_it_was_written_as_a_reference(changed, saved):
    given = {"optimizer.lr": 1e-3, "trainer.max_epochs": saved.trainer.max_epochs, "compile": "auto", "resume": "x"}
    assert changed(given).changed == {}
    assert changed({"logger.wandb.x": "${seed}"}, composed(["+logger.wandb.x=0"])).changed == {}
    with pytest.raises(UserError, match="seed = false, where the run has 0"):
        changed({"seed": False})


def test_each_resume_adds_its_changes_and_values_stay_references(changed, tmp_path):
    run = RunDirectory(tmp_path)
    changed({"trainer.max_epochs": 7}).write(13)
    changed({"paths.data_dir": "/a", "callbacks.progress": ...}, run.read_config()).write(26)
    history = run.read_config()[HISTORY]
    assert [record.step for record in history] == [13, 26]
    assert history[1].changes["paths.data_dir"]["from"] == "${oc.env:DISCRETE_LATENTS_DATA,data}"  # and not its value
    assert set(changed_before(run.read_config())) == {"trainer.max_epochs", "paths.data_dir", "callbacks.progress"}
    words = ["+trainer.max_time=1", "++a=1", "~callbacks.progress", "~callbacks.pictures", "eval_samples=3"]
    forced = ["++trainer.max_time=1", "++a=1", "~callbacks.pictures", "eval_samples=3"]
    assert repeatable(words, run.read_config()) == forced


def test_what_is_of_the_command_is_no_change_and_secrets_stay_masked(changed, tmp_path):
    assert changed({"trust": ["my_package"]}).changed == {}
    changed({"logger.wandb.api_key": "a-secret-of-mine"}).write(13)
    saved = RunDirectory(tmp_path).config.read_text()
    assert "a-secret-of-mine" not in saved
    assert "***" in saved
    assert changed({"logger.wandb.api_key": "a-secret-of-mine"}, RunDirectory(tmp_path).read_config()).changed == {}


@pytest.mark.parametrize("history", [3, "x", [3], [{}], [{"changes": 3}], {"a": 1}], ids=str)
def test_a_history_that_is_none_is_not_read(history):
    assert changed_before(OmegaConf.create({HISTORY: history})) == {}
