"""A run whose numbers are no longer finite stops, says where and with what, and keeps its last good checkpoint."""

import math
import re
import shutil

import lightning.pytorch as pl
import pytest
import torch

from discrete_latents.latent import GumbelSoftmax
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.nonfinite import first_nonfinite_output, nonfinite_modules
from tests.cli.conftest import SMALL, beyond_progress, snapshot
from tests.cli.test_resume import results
from tests.helpers.fitting import make_model
from tests.helpers.tables import rest_is_slow

pytestmark = [pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")]


class Poison(pl.Callback):
    """Makes parameters of a module infinite once a number of steps is done."""

    def __init__(self, step: int, module: str) -> None:
        self.step, self.module = step, module

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.get_submodule(self.module).parameters()).fill_(math.inf)


def poison(step, module):
    return [f"+callbacks.poison.{key}={value}" for key, value in (("step", step), ("module", module))] + [
        f"+callbacks.poison._target_={__name__}.Poison"
    ]


def said(outcome) -> str:
    assert outcome.code == 1
    (line,) = beyond_progress(outcome.err)
    assert line.startswith("error: ")
    return line


def test_a_diverging_run_says_at_which_step_and_with_what(command, tmp_path):
    line = said(command("train", *SMALL, "optimizer.lr=1e14", "trainer.log_every_n_steps=10", "hydra.run.dir=run"))
    assert re.search(r"the bound of step [1-4] is nan, of the step before -\S+ nats", line)
    assert "parameters: prior_logits (1 of 1), encoder (4 of 4), decoder (4 of 4)" in line
    assert "learning rate 1e+14, temperature 1, gradient norm nan" in line
    assert "trainer.detect_anomaly=true" in line
    assert not list(tmp_path.glob("run/checkpoints/*"))
    assert not (tmp_path / "run" / "results.json").exists()


def test_at_the_very_step_it_says_which_output_it_was_and_the_largest_logit(command):
    line = said(command("train", *SMALL, "optimizer.lr=1e30", "trainer.log_every_n_steps=1"))
    assert "the bound of step 1 is nan; not finite: output: encoder; learning rate 1e+30" in line
    assert "largest parameter 1e+30, largest logit inf" in line


BEFORE_ANYTHING_ELSE = {
    "logging": ["trainer.log_every_n_steps=1"],
    "validation": ["trainer.log_every_n_steps=1000"],
    "saving": ["trainer.log_every_n_steps=1000"],  # without validation
}


@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval", "ignore:.*could not find the monitored key")
@pytest.mark.parametrize("settings", BEFORE_ANYTHING_ELSE.values(), ids=BEFORE_ANYTHING_ELSE)
def test_no_checkpoint_is_written_over_the_last_good_one(command, finished, tmp_path, settings, request):
    """Wherever it is seen first."""
    run = shutil.copytree(finished.folder, tmp_path / "run")
    if "saving" in request.node.callspec.id:
        saved = RunDirectory(run).config
        saved.write_text(saved.read_text().replace("trainer:\n", "trainer:\n  limit_val_batches: 0\n"))
    before = {name: file for name, file in snapshot(run).items() if name.startswith("checkpoints")}
    line = said(command("train", f"resume={run}", "trainer.max_epochs=4", *settings, *poison(30, "decoder")))
    assert "decoder (1 of 4)" in line or "decoder (4 of 4)" in line
    assert {name: file for name, file in snapshot(run).items() if name.startswith("checkpoints")} == before
    outcome = command("train", f"resume={run}", "trainer.max_epochs=3", "~callbacks.poison")
    assert outcome.code == 0, outcome.err


def test_the_last_step_of_all_is_looked_at_too(command, tmp_path):
    line = said(command("train", *SMALL, *poison(26, "encoder"), "hydra.run.dir=run"))
    assert "after step 25 training is not finite" in line
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 13


def test_detect_anomaly_stops_at_the_operation(command):
    with pytest.raises(RuntimeError, match="returned nan values"), pytest.warns(UserWarning, match="Traceback"):
        command("train", *SMALL, "optimizer.lr=1e30", "trainer.detect_anomaly=true")


def test_the_first_part_with_a_bad_output_is_named():
    model = make_model(GumbelSoftmax(1.0))
    model.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)  # for its precision
    batch = torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)
    assert first_nonfinite_output(model, batch)[0] == ""
    assert 0 < first_nonfinite_output(model, batch)[1] < 10
    with torch.no_grad():
        last = list(model.decoder.parameters())[-1]
        last.fill_(math.nan)
    assert first_nonfinite_output(model, batch)[0] == "decoder"
    assert nonfinite_modules(model.named_parameters()) == "decoder (1 of 2)"
    with torch.no_grad():
        last.zero_()
    model.output_bias.fill_(math.inf)
    assert first_nonfinite_output(model, batch)[0] == "likelihood"
    model.output_bias.zero_()
    model.estimator.forward = lambda objective: torch.full((2,), math.nan)
    assert first_nonfinite_output(model, batch)[0] == "estimator (GumbelSoftmax)"


PRECISIONS = {
    "bf16-mixed": ["trainer.precision=bf16-mixed"],
    # Which Lightning leaves to GPUs; torch has it, and the scaling of the loss, for a CPU too.
    "16-mixed": [
        "trainer.precision=null",
        "+trainer.plugins={_target_: lightning.pytorch.plugins.MixedPrecision, precision: 16-mixed, device: cpu}",
    ],
    "bf16-true": ["trainer.precision=bf16-true"],
    "64-true": ["trainer.precision=64-true"],
}


@pytest.mark.parametrize("experiment", rest_is_slow(["vae_digits", "sbn_digits", "ssl_digits"], 1))
def test_all_models_train_in_other_precisions(command, tmp_path, experiment):
    """To about the bound of single precision."""
    metrics = {}
    for name, settings in {"32-true": [], **PRECISIONS}.items():
        words = [f"experiment={experiment}", "trainer.max_epochs=2", "optimizer.lr=1e-2", "eval_samples=2", *settings]
        outcome = command("train", *words, f"hydra.run.dir={name}")
        assert outcome.code == 0, outcome.err
        metrics[name] = results(tmp_path / name)["metrics"]["test/nelbo"]
    assert len(set(metrics.values())) == len(metrics)
    assert metrics == pytest.approx(dict.fromkeys(metrics, metrics["32-true"]), rel=0.02)
