"""What a user gives under the name of a secret stands in none of the files that a run leaves, and in no output."""

import logging
from pathlib import Path

import lightning.pytorch as pl
import pytest

from discrete_latents import secrecy
from discrete_latents.errors import UserError
from discrete_latents.summary.command import summarize_main
from tests.cli.conftest import SMALL

SECRET = "correct-horse-battery-staple"


class Service(pl.Callback):
    """Of somebody who logs what he should not."""

    def __init__(self, api_key: str, wrong: bool = False) -> None:
        logging.getLogger(__name__).warning("connected by %s", api_key)
        print(f"as {api_key}")
        self.key = api_key
        if wrong:
            raise ValueError(f"api_key must be another than {api_key}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        print(f"trains as {self.key}")


@pytest.fixture(autouse=True)
def _knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "known", set())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_secret_of_the_command_line_is_nowhere(command, tmp_path, monkeypatch, capfd):
    service = [f"+callbacks.service._target_={__name__}.Service", f"+callbacks.service.api_key={SECRET}"]
    words = [*SMALL, "trainer.max_epochs=1", "logger=[csv,tensorboard]", *service]
    outcome = command("train", *words, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert "as ***" in outcome.out
    assert "connected by ***" in outcome.err
    failed = command("train", *words, "+callbacks.service.wrong=true", "hydra.run.dir=failed")
    assert failed.code == 1
    assert "api_key must be another than ***" in failed.err
    shown = command("train", *words, "--cfg", "job")
    assert "api_key: '***'" in shown.out or "api_key: ***" in shown.out
    monkeypatch.setattr("sys.argv", ["summarize", str(tmp_path / "run"), "--by", "callbacks.service.api_key"])
    summarize_main()
    said = "".join([outcome.out, outcome.err, failed.out, failed.err, shown.out, shown.err, capfd.readouterr().out])
    written = files(tmp_path)
    for part in ("config.yaml", "overrides.yaml", "hydra.yaml", "train.log", "events", "hparams.yaml", "summary.html"):
        assert any(part in name for name in written), part
    assert SECRET not in said
    assert [name for name, content in written.items() if SECRET.encode() in content] == []
    # It is not saved, so it is given again.
    resume = ["resume=run", "trainer.max_epochs=2", "trust=[tests]"]
    assert "callbacks.service.api_key is a secret, which is not saved" in command("train", *resume).err
    outcome = command("train", *resume, f"callbacks.service.api_key={SECRET}")
    assert outcome.code == 0, outcome.err
    assert SECRET not in outcome.out + outcome.err


@pytest.mark.parametrize("launcher", ["submitit_local", "joblib"])
def test_a_secret_that_varies_is_not_for_a_launcher(command, tmp_path, launcher):
    service = [f"+callbacks.service._target_={__name__}.Service", f"+callbacks.service.api_key={SECRET}1,{SECRET}2"]
    outcome = command("train", "-m", *SMALL, f"launcher={launcher}", *service)
    assert outcome.code == 1
    assert outcome.err.startswith("error: callbacks.service.api_key is a secret that varies, which ")
    assert SECRET not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_no_secret_of_the_environment(command, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    outcome = command("train", *SMALL, "latent=${oc.env:SOME_TOKEN}", "+data.source.x=${oc.env:SOME_TOKEN}")
    assert outcome.code == 1
    assert SECRET not in outcome.err


def test_a_user_error_is_masked_in_results(tmp_path):
    from discrete_latents.runs.directory import RunDirectory
    from discrete_latents.runs.results import write_results

    secrecy.learn({"token": SECRET})
    write_results(RunDirectory(tmp_path), {"error": str(UserError(f"no {SECRET}"))})
    assert SECRET not in (tmp_path / "results.json").read_text()
