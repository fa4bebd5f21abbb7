"""A user's mistake on the command line: one line that names the setting and what is allowed, exit code 1, before
any training starts."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import datasets

from tests.cli.conftest import SMALL, shell, snapshot
from tests.helpers.tables import one_in

ONE = "debug=one_batch"


def case(line: str, *said: str) -> Any:
    """A command line and what its error says."""
    return pytest.param(line, said, id=line)


MISTAKES = [
    # The name of a setting.
    case("modl.num_latents=3", "modl.num_latents is not a setting", "did you mean model.num_latents"),
    case("model.num_latent=3", "model.num_latent is not a setting", "did you mean model.num_latents"),
    case("num_latents=3", "num_latents is not a setting", "it is model.num_latents"),
    case("lr=0.1", "lr is not a setting", "did you mean optimizer.lr?"),
    case("batch_size=10", "batch_size is not a setting", "did you mean data.batch_size"),
    case("tau=0.5", "tau is not a setting"),
    case(
        "~model.latents",
        "model.latents is not a setting",
    ),
    case(
        "+seed=3",
        "error: seed ",
    ),
    case("+trainer.foo=1", "trainer", "foo"),
    case(
        "+optimizer.algorithm.foo=1",
        "optimizer",
        "foo",
    ),
    # The option of a group.
    case(
        "latent=gumbel", "latent = gumbel is not an option", "did you mean st_gumbel or gumbel_rao or gumbel_softmax?"
    ),
    case("experiment=vae_mnits", "experiment = vae_mnits is not an option", "did you mean vae_mnist"),
    case(
        "optimizer=lion",
        "optimizer = lion is not an option",
        "adam, adamw, radam, sgd",
    ),
    case(
        "model/network=resnet",
        "model/network = resnet is not an option",
        "linear, mlp, mlp_200",
    ),
    case(
        "logger=[csv,foo]",
        "logger = foo is not an option",
        "csv, many_loggers, mlflow, none, tensorboard, wandb",
    ),
    # The grammar.
    case("seed", "seed"),
    case("model.network.hidden=[1,2", "[1,2"),
    case("seed=1,2", "seed=1,2", "--multirun"),
    # Temperatures.
    case("temperature.start=0", "temperature.start must be a number greater than 0, got 0"),
    case("temperature.start=-1", "temperature.start must be a number greater than 0, got -1"),
    case("temperature.start=nan", "temperature.start must be a number greater than 0, got nan"),
    case("temperature.start=warm", "temperature.start must be a number greater than 0, got 'warm'"),
    case("temperature.minimum=2", "temperature.minimum must be below start = 1.0, got 2.0"),
    case("temperature.minimum=0", "temperature.minimum must be a number greater than 0, got 0"),
    case("temperature.rate=0", "temperature.rate must be a number greater than 0, got 0"),
    case("temperature.period=0", "temperature.period must be a whole number of at least 1, got 0"),
    # Estimators.
    case("latent=exact", "20 latents of 10 classes", "1e+20", "at most max_configurations = 4096"),
    case("latent=sparsemax", "20 latents of 10 classes", "1e+20", "at most max_configurations = 4096"),
    case("latent=topk_sparsemax model.uniform_mix=0.1", "uniform_mix must be 0 for TopKSparsemax"),
    case("latent=topk_sparsemax free_bits=constant", "free_bits must be 0 for TopKSparsemax"),
    case("latent=st_gumbel latent.kl=relaxed", "latent.kl must be one of analytic, sampled", "'relaxed'"),
    case("latent=rloo latent.draws=1", "latent.draws must be a whole number of at least 2, got 1"),
    case("latent=vimco latent.samples=1", "latent.samples must be a whole number of at least 2, got 1"),
    case("latent=disarm", "disarm is defined for Bernoulli latents, num_classes = 2, got 10"),
    case("latent=muprop latent.samples=3", "latent.samples is not a setting"),
    case("latent=rebar latent.temperature.start=-1", "error: latent.temperature.start must be a number", "got -1"),
    case("latent=nvil latent.baselines.average.decay=2", "decay must be at least 0 and below 1, got 2"),
    case("latent=reinforce latent.normalize=perhaps", "latent.normalize must be true or false, got 'perhaps'"),
    case("latent=gapped_straight_through latent.gap=0", "latent.gap must be a number greater than 0, got 0"),
    case("latent=reinmax latent.samples=4", "samples = 4 with kl = analytic is not a lower bound", "kl = sampled"),
    case("latent.kl=exact", "latent.kl must be one of analytic, relaxed", "'exact'"),
    case("latent.samples=0", "latent.samples must be a whole number of at least 1, got 0"),
    case("latent.samples=3", "samples = 3 with kl = analytic", "samples = 1, or kl = relaxed"),
    case("latent=concrete latent.prior_temperature=0", "latent.prior_temperature must be a number greater than 0"),
    # Data.
    case("data.binarization=soft", "data.binarization must be one of fixed, dynamic, threshold, grey, got 'soft'"),
    case("data.batch_size=0", "data.batch_size must be a whole number of at least 1, got 0"),
    case("data.batch_size=many", "data.batch_size must be a whole number of at least 1, got 'many'"),
    case("data.eval_batch_size=0", "data.eval_batch_size must be a whole number of at least 1, got 0"),
    # Models and networks.
    case("model.num_latents=0", "model.num_latents must be a whole number of at least 1, got 0"),
    case("model.num_classes=1", "model.num_classes must be a whole number of at least 2, got 1"),
    case("model.prior=flat", "model.prior must be learned or uniform, got 'flat'"),
    case(
        "model.eval_chunk=0",
        "model.eval_chunk must be a whole number of at least 1, got 0",
    ),
    case("model.network.hidden=[0]", "model.network.hidden must be a list of whole numbers of at least 1", "[0]"),
    case("model.network.hidden=200", "model.network.hidden must be a list of whole numbers of at least 1", "200"),
    case(
        "model.network.decoder_hidden=[-1]",
        "model.network.decoder_hidden must be a list of whole numbers of at least 1",
        "[-1]",
    ),
    case(
        "model/network=cnn model.network.hidden=[8,8,8,8]",
        "model.network.hidden = [8, 8, 8, 8]",
        "halved 4 times",
        "8×8",
    ),
    case(
        "model.network.activation=Foo",
        "model.network.activation must be the name of an activation",
        "'Foo'",
    ),
    case(
        "model/likelihood=gaussian model.likelihood.scale=-1", "model.likelihood.scale must be", "greater than 0", "-1"
    ),
    case(
        "model/likelihood=gaussian model.likelihood.scale=wide",
        "model.likelihood.scale must be",
        "'wide'",
    ),
    # Optimisers.
    case("optimizer.lr=0", "optimizer.lr must be", "greater than 0, got 0"),
    case("optimizer.lr=-1", "optimizer.lr must be", "greater than 0, got -1"),
    case("optimizer.lr=fast", "optimizer.lr must be", "greater than 0, got 'fast'"),
    case("optimizer.lr=null", "optimizer.lr must be", "greater than 0, got None"),
    case("optimizer.lr=inf", "optimizer.lr must be", "inf"),
    case("lr_schedule.hold=2", "lr_schedule.hold must be", "between 0 and 1, got 2"),
    # The run.
    case("seed=-1", "seed must be a whole number of at least 0", "got -1"),
    case("seed=abc", "seed must be a whole number of at least 0", "got 'abc'"),
    case(
        "seed=99999999999",
        "seed must be",
        "99999999999",
    ),
    case("eval_samples=0", "eval_samples must be a whole number of at least 1, got 0"),
    case("eval_samples=1e3", "eval_samples must be a whole number of at least 1, got 1000.0"),
    case("trainer.max_epochs=abc", "trainer.max_epochs must be a whole number", "'abc'"),
    case("trainer.max_epochs=-2", "trainer.max_epochs must be a whole number", "-2"),
    case("trainer.devices=0", "trainer", "devices"),
    case("trainer.precision=31", "trainer", "31", "32-true"),
    case(
        "trainer.check_val_every_n_epoch=0",
        "trainer.check_val_every_n_epoch",
        "0",
    ),
    case(
        "trainer.log_every_n_steps=0",
        "trainer.log_every_n_steps",
        "0",
    ),
    case("callbacks.checkpoint.mode=least", "callbacks.checkpoint", "min, max", "least"),
    case(
        "callbacks.pictures.every_n_epochs=often",
        "callbacks.pictures.every_n_epochs",
        "'often'",
    ),
    case("resume=nowhere", "nowhere is not the directory of a run"),
    case("resume=.", "is not the directory of a run", ".hydra/config.yaml"),
]


@pytest.mark.parametrize(("line", "said"), one_in(4, MISTAKES))
def test_a_mistake_is_one_line_before_anything_is_trained(command, tmp_path, line, said):
    outcome = command("train", ONE, *line.split())
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.out == ""
    for words in said:
        assert words in outcome.err
    assert "provider=" not in outcome.err
    assert not any(path.name in ("checkpoints", "images", "metrics.csv") for path in tmp_path.rglob("*"))


def test_a_missing_data_set_that_cannot_be_downloaded_says_where_it_is_looked_for(command, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    outcome = command("train", ONE, "data=mnist", f"paths.data_dir={tmp_path}/data")
    assert outcome.code == 1
    assert len(outcome.err.splitlines()) == 2  # first, that it tries to download
    for words in (
        "\nerror: data.name = mnist",
        f"{tmp_path}/data/MNIST/raw",
        "paths.data_dir",
        "DISCRETE_LATENTS_DATA",
    ):
        assert words in outcome.err


def test_damaged_data_files_are_named(command, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"no images")
    outcome = command("train", ONE, "data=mnist", f"paths.data_dir={tmp_path}/data")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: data.name = mnist")
    assert str(raw) in outcome.err


def test_a_metric_that_is_not_logged_cannot_be_monitored(command):
    outcome = command("train", ONE, "callbacks.checkpoint.monitor=val/elbo", "~callbacks.progress")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    for words in ("error: ", "monitor", "val/elbo", "val/nelbo"):
        assert words in outcome.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said(command):
    outcome = command("train", ONE, "trainer=gpu")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: trainer")
    assert "gpu" in outcome.err


def test_a_folder_that_cannot_be_written_is_named(command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = command("train", ONE, f"hydra.run.dir={tmp_path}/file/run")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("error: ")
    assert f"{tmp_path}/file" in outcome.err


def test_a_job_of_a_sweep_that_fails_says_so(command, tmp_path):
    outcome = command("train", "-m", ONE, *SMALL, "trainer.max_epochs=1", "seed=0,-1")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: job 1 (seed=-1) failed: seed must be a whole number")
    assert len(list(tmp_path.rglob("checkpoints"))) == 1


@pytest.mark.parametrize("word", ["lr=0.1", "latent=gumbel", "temperature.start=-1"])
def test_a_mistake_leaves_an_earlier_run_as_it_was(command, finished, tmp_path, word):
    earlier = shutil.copytree(finished.folder, tmp_path / "run")
    before = snapshot(earlier)
    assert command("train", f"hydra.run.dir={earlier}", word).code == 1
    assert snapshot(earlier) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr=0.1", "error: lr is not a setting: did you mean optimizer.lr?\n"),
        (
            "latent=st_gumbel latent.kl=relaxed",
            "error: latent.kl must be one of analytic, sampled for STGumbel, got 'relaxed'\n",
        ),
    ],
)
def test_a_mistake_in_a_shell_is_one_line_too(tmp_path, line, said):
    outcome = shell("train.py", *line.split(), cwd=tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (1, "", said)


def test_a_bug_keeps_its_traceback(command, monkeypatch, tmp_path: Path):
    from discrete_latents.networks import Network

    def broken(*_, **__):
        raise NameError("name 'nn' is not defined")

    monkeypatch.setattr(Network, "__init__", broken)
    with pytest.raises(Exception, match="nn"):
        command("train", ONE)
