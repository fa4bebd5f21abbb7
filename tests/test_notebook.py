"""Runs trained from Python, as in a notebook: no arguments, an event loop that runs, several calls in one process."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure
from PIL import Image

import discrete_latents
from discrete_latents import Run, load_run
from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from tests.cli.conftest import ROOT, SMALL, command  # noqa: F401

QUICK = [*SMALL, "callbacks.pictures.every_n_epochs=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def trained_here(folder) -> Run:
    """A run trained in a cell: an event loop runs, and the process has no arguments. Without jaxtyping's checks, as a
    user has it."""
    import jaxtyping

    arguments = sys.argv

    async def cell() -> Run:
        del sys.argv
        return discrete_latents.train([*QUICK, f"hydra.run.dir={folder}/run"])

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            run = asyncio.run(cell())
        assert not hasattr(sys, "argv")
        return run
    finally:
        sys.argv = arguments
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_run_has_results(trained_here, folder):
    assert trained_here.results == json.loads((folder / "run" / "results.json").read_text())
    assert trained_here.results["status"] == "completed"
    assert trained_here.directory == folder / "run"


def test_a_run_has_its_history_as_arrays_of_one_length(trained_here):
    history = trained_here.history
    assert history["step"].tolist() == [12, 25]
    assert {len(column) for column in history.values()} == {2}
    assert np.isfinite(history["val/nelbo"]).all()
    assert {"train/relaxed_nelbo", "learning_rate", "temperature"} <= history.keys()
    assert not any(name.startswith("test/") for name in history)
    assert "val/nelbo" in repr(history)
    assert max(map(len, repr(history).splitlines()[1:])) <= 110


def test_a_history_is_a_table_for_pandas(trained_here):
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(trained_here.history).shape == (2, len(trained_here.history))


def test_a_run_plots_its_curves(trained_here, folder):
    figure = trained_here.plot()
    assert isinstance(figure, Figure)
    (axis,) = figure.axes
    drawn = {line.get_label(): line for line in axis.lines}
    assert {"train/relaxed_nelbo", "val/nelbo"} <= drawn.keys()
    assert drawn["val/nelbo"].get_ydata().tolist() == trained_here.history["val/nelbo"].tolist()
    assert axis.get_ylabel() == "nats"
    figure.savefig(folder / "curves.png")
    assert [line.get_label() for line in trained_here.plot("val/kl").axes[0].lines] == ["val/kl"]
    with pytest.raises(KeyError, match="nothing was not logged; there are step, epoch"):
        trained_here.plot("nothing")


def test_a_run_has_its_pictures(trained_here):
    pictures = trained_here.pictures()
    assert pictures.keys() == {"classes", "code_use", "reconstructions", "samples"}
    assert all(isinstance(picture, Image.Image) for picture in pictures.values())


@pytest.mark.usefixtures("_as_a_user")
def test_a_run_is_evaluated_with_another_m(trained_here):
    metrics = trained_here.evaluate(m=3)
    assert metrics["test/nelbo"] == pytest.approx(trained_here.results["metrics"]["test/nelbo"], abs=1e-4)
    (evaluation,) = (trained_here.directory / "evaluations").iterdir()
    assert RunDirectory(evaluation).read_results()["eval_samples"] == 3
    with pytest.raises(ValueError, match="m must be a whole number of at least 1"):
        trained_here.evaluate(m=0)
    with pytest.raises(UserError, match="split must be val or test, got 'train'"):
        trained_here.evaluate(split="train")


def test_a_run_has_its_data(trained_here):
    assert tuple(trained_here.data.image_shape) == (1, 8, 8)
    assert trained_here.data is trained_here.data


def test_a_run_has_a_readable_repr(trained_here):
    said = repr(trained_here)
    for word in ("vae_digits", "gumbel_softmax", "digits", "seed 0", "test/nll ", str(trained_here.directory)):
        assert word in said
    assert "object at" not in said


def test_a_run_encodes_and_samples_as_a_loaded_one(trained_here):
    loaded = load_run(trained_here.directory)
    x = trained_here.data.images["test"][:5] if hasattr(trained_here.data, "images") else trained_here.sample(5)
    assert (trained_here.encode(x) == loaded.encode(x)).all()
    assert repr(loaded) == repr(trained_here)
    assert loaded.history.keys() == trained_here.history.keys()


@pytest.fixture
def _as_a_user(command, tmp_path, monkeypatch):  # noqa: F811
    """Annotations are not checked, and the process is in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_as_a_user")
@pytest.mark.slow
def test_a_run_goes_on_from_python_and_from_the_command_line(command, trained_here, tmp_path):  # noqa: F811
    import shutil

    shutil.copytree(trained_here.directory, tmp_path / "run")
    run = discrete_latents.train(["resume=run", "trainer.max_epochs=3"])
    assert (run.results["epochs"], run.results["steps"]) == (3, 39)
    assert run.results["command"] == "python train.py resume=run trainer.max_epochs=3"
    assert command("train", "resume=run", "trainer.max_epochs=4").code == 0
    assert command("eval", "run=run").code == 0
    assert run.results["epochs"] == 4  # read anew


REFUSED = {
    "a setting": (["seeed=1"], "seeed is not a setting: did you mean seed"),
    "a value": (["data.binarization=soft"], "data.binarization must be one of fixed, dynamic, threshold, grey, got"),
    "an option": (["latent=gumbel"], "latent = gumbel is not an option: did you mean"),
    "a model": ([*QUICK, "latent=disarm"], "CategoricalVAE with DisARM: "),
    "several": (["seed=0,1"], "Ambiguous value for argument 'seed=0,1'"),
    "a sweep": (["-m", "seed=0,1"], "a sweep is started on the command line: python train.py -m"),
    "a sweep to finish": (["sweep.resume=x"], "a sweep is started on the command line"),
    "a flag": (["--help"], "overrides must be settings as name=value, got '--help'"),
    "text": ("seed=1", "overrides must be a list of settings, as ['seed=1', 'latent=rloo'], got 'seed=1'"),
    "several processes": (["trainer=ddp_sim"], "trainer.devices must be 1 where a run is trained from Python, got 2"),
    "no run": (["resume=nowhere"], "nowhere is not the directory of a run"),
    "no assignment": (["seed"], "Error parsing override 'seed'"),
}


@pytest.mark.usefixtures("_as_a_user")
@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_one_line(kind, tmp_path):
    overrides, said = REFUSED[kind]
    with pytest.raises(UserError) as refused:
        discrete_latents.train(overrides)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob(".hydra"))


class Interrupts(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("_as_a_user")
@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(tmp_path):
    words = [*QUICK, "hydra.run.dir=run", "+callbacks.mine._target_=tests.test_notebook.Interrupts"]
    with pytest.raises(KeyboardInterrupt, match=r"interrupted; to go on: python train\.py resume="):
        discrete_latents.train(words)
    run = discrete_latents.train(["resume=run", "~callbacks.mine"])
    assert run.results["epochs"] == 2


@pytest.mark.usefixtures("_as_a_user")
def test_the_process_is_left_as_it_was(tmp_path):
    root = logging.getLogger()

    def state() -> tuple:
        return (
            [*sys.argv],
            sys.stdout,
            sys.stderr,
            dict(os.environ),
            root.handlers[:],
            root.level,
            warnings.filters[:],
            GlobalHydra.instance().hydra,
            Path.cwd(),
        )

    before = state()
    discrete_latents.train([*QUICK, "debug=one_batch", "hydra.run.dir=run"])
    with pytest.raises(UserError):
        discrete_latents.train(["hydra.run.dir=run"])
    assert state() == before


@pytest.mark.usefixtures("_as_a_user")
@pytest.mark.slow
def test_a_part_of_ones_own_is_trusted_by_whoever_trained_it(tmp_path):
    words = [*QUICK, "debug=one_batch", "hydra.run.dir=run", "+callbacks.mine._target_=tests.test_notebook.Quiet"]
    run = discrete_latents.train(words)
    assert run.sample(2).shape == (2, 1, 8, 8)
    assert "test/nll" in run.evaluate(m=2)
    with pytest.raises(UserError, match="trust"):
        load_run("run")
    assert load_run("run", trust=["tests"]).sample(1).shape == (1, 1, 8, 8)


class Quiet(pl.Callback):
    """Does nothing."""


def test_train_is_imported_when_it_is_asked_for():
    code = "import sys, discrete_latents; print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[0] == "False"
    assert discrete_latents.train.__doc__.startswith("Trains and tests a run")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", None])
def test_python_m_is_the_command_with_several_processes_too(tmp_path, name):
    words = [*([name] if name else []), *QUICK, "debug=one_batch", "trainer=ddp_sim", "hydra.run.dir=run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    for arguments in (words, ["eval", "run=run"]):
        done = subprocess.run(
            [sys.executable, "-m", "discrete_latents", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        assert "test/nll" in done.stdout
    assert (tmp_path / "run" / "evaluations").is_dir()
