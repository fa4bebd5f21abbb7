"""Bad inputs, by the hundred: values of the wrong type or range, combinations that cannot be, files and folders that
are not what they are taken for. Names, options and the most common values are in test_errors.py.

Each is one line that names the setting, its value and what is allowed, before anything is trained or written over.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from discrete_latents import load_run
from discrete_latents.errors import UserError
from tests.cli.conftest import Outcome, snapshot
from tests.cli.test_errors import ONE, case
from tests.helpers.tables import one_in

SSL = "experiment=ssl_digits"
TRUE_OR_FALSE = "must be true or false"

BAD_SETTINGS = [
    # Groups and the grammar.
    case("latent=", "latent =  is not an option", "gumbel_softmax"),
    case("latent=null", "latent = null is not an option", "gumbel_softmax"),
    case("model=null", "model = null is not an option", "categorical_vae"),
    case("temperature=3", "temperature = 3 is not an option", "constant, cosine"),
    case("logger=wandb,csv", "logger=wandb,csv", "key=[value1,value2]"),
    case("+latent=exact", "Multiple values for latent"),
    case("model.network.hidden={a:1}", "model.network.hidden={a:1}"),
    case("seed=${foo}", "'foo' not found", "seed"),
    case("seed=${oc.env:NOPE}", "'NOPE' not found", "seed"),
    case("model.num_latents=${model.num_latents}", "model.num_latents"),
    case("--config-name=foo", "'foo'"),
    case("--foo", "unrecognized arguments: --foo", "name=value"),
    case("-m --seeds 3", "unrecognized arguments: --seeds", "name=value"),
    case("--epochs=3", "unrecognized arguments: --epochs=3", "name=value"),
    # Temperatures.
    case("temperature.start=true", "temperature.start must be a number greater than 0, got True"),
    case("temperature.start=[1]", "temperature.start must be a number greater than 0, got [1]"),
    case("temperature.start=1e400", "temperature.start must be a number greater than 0, got inf"),
    case("temperature.minimum=null", "temperature.minimum must be a number greater than 0, got None"),
    case("temperature.rate=-1", "temperature.rate must be a number greater than 0, got -1"),
    case("temperature.period=2.5", "temperature.period must be a whole number of at least 1, got 2.5"),
    case("temperature=linear temperature.steps=0", "temperature.steps must be a whole number of at least 1, got 0"),
    case("temperature=cosine temperature.minimum=3", "temperature.minimum must be below start = 1.0, got 3.0"),
    case("temperature=learned temperature.minimum=1", "temperature.minimum must be below start = 1.0, got 1.0"),
    case("temperature._target_=nothing.Here", "temperature", "nothing.Here"),
    case("temperature._target_=os.system", "temperature", "os.system"),
    case("temperature=learned latent=st_gumbel", "temperature must be a number or a schedule for STGumbel", "soft"),
    case("latent.temperature=0", "latent.temperature must be a number greater than 0, got 0"),
    case("latent=reinmax latent.temperature=hot", "latent.temperature must be a number greater than 0, got 'hot'"),
    case("latent=decoupled_st_gumbel latent.forward_temperature=0", "latent.forward_temperature must be", "got 0"),
    # Estimators.
    case("latent.prior_temperature=1", "latent.prior_temperature must be null with kl = analytic", "got 1"),
    case("latent.kl=relaxed latent.prior_temperature=-1", "latent.prior_temperature must be a number greater than 0"),
    case("latent=concrete latent.prior_temperature=null", "latent.prior_temperature must be a number, got None"),
    case("latent=gumbel_rao latent.draws=0", "latent.draws must be a whole number of at least 1, got 0"),
    case("latent=relax latent.hidden=0", "latent.hidden must be a whole number of at least 1, got 0"),
    case("latent=relax latent.scale=x", "latent.scale must be a finite number, got 'x'"),
    case("latent=rebar latent.scale=nan", "latent.scale must be a finite number, got nan"),
    case("latent=exact latent.max_configurations=0", "latent.max_configurations must be a whole number", "got 0"),
    case("latent=nvil latent.baselines.network.hidden=0", "latent.baselines.network.hidden must be", "got 0"),
    case("latent=nvil latent.baselines.average.decay=1", "latent.baselines.average.decay must be at least 0", "got 1"),
    case("latent=muprop latent.baselines.average.decay=null", "latent.baselines.average.decay must be", "got None"),
    case("latent=reinforce latent.baselines=3", "latent.baselines must be settings by their names or null, got 3"),
    case("latent=reinforce latent.baselines.average=3", "latent.baselines.average must be called with", "got 3"),
    case("latent=reinforce latent.samples=2.5", "latent.samples must be a whole number of at least 1, got 2.5"),
    case("latent=reinforce latent.normalize=1", f"latent.normalize {TRUE_OR_FALSE}, got 1"),
    case("latent=darn latent.kl=null", "latent.kl must be one of analytic, sampled for Darn, got None"),
    # Data.
    case("data.labelled=50", "data.labelled must be null for a CategoricalVAE", "got 50"),
    case(f"{SSL} data.labelled=7", "data.labelled must be a multiple of the 10 classes, at most 1220, got 7"),
    case(f"{SSL} data.labelled=5000", "data.labelled must be a multiple", "at most 1220, got 5000"),
    case(f"{SSL} data.labelled=0", "data.labelled must be a whole number of at least 1, got 0"),
    case(f"{SSL} data.labelled=null", "data.labelled"),
    case(f"{SSL} data.label_seed=x", "data.label_seed must be a whole number of at least 0, got 'x'"),
    case(f"{SSL} data.augmentation=shift", "data.augmentation must be an object, by its _target_", "got 'shift'"),
    case("experiment=ssl_mnist data=digits data.augmentation.degrees=200", "data.augmentation.degrees must be", "200"),
    case("experiment=ssl_mnist data=digits data.augmentation.zoom=1", "data.augmentation.zoom must be", "got 1"),
    case("experiment=tokenizer_patches data.augmentation.flip=yes", "data.augmentation.flip must be", "got 'yes'"),
    case("data.seed=-3", "data.seed must be a whole number of at least 0, got -3"),
    case("data.reshuffled=maybe", f"data.reshuffled {TRUE_OR_FALSE}, got 'maybe'"),
    case("data.batch_size=1.5", "data.batch_size must be a whole number of at least 1, got 1.5"),
    case("data.name=null", "data.name must be text, got None"),
    case("data.source=digits", "data.source must be an object, by its _target_, got 'digits'"),
    case("data.source._target_=foo.bar", "data.source", "foo.bar"),
    case("data=mnist data.source.dataset=Foo", "data.source.dataset must be one of MNIST, FashionMNIST", "got 'Foo'"),
    case("data=mnist paths.data_dir=null", "paths.data_dir must be text, got None"),
    case("data=mnist paths.data_dir=/dev/null", "/dev/null/MNIST/raw", "paths.data_dir"),
    # Models and networks.
    case("model.num_latents=true", "model.num_latents must be a whole number of at least 1, got True"),
    case("model.num_classes=ten", "model.num_classes must be a whole number of at least 2, got 'ten'"),
    case("model.num_latents=100000000000", "model", "can't allocate memory"),
    case("model.network.hidden=null", "model.network.hidden must be a list of whole numbers", "got None"),
    case("model.network.hidden=[1.5]", "model.network.hidden must be a list of whole numbers", "got [1.5]"),
    case("model.network=null", "model.network must be an object, by its _target_, got None"),
    case("model.network.activation=Softmax", "model.network.activation must be the name", "got 'Softmax'"),
    case("model.likelihood=null", "model.likelihood must be an object, by its _target_, got None"),
    case("model/likelihood=gaussian model.likelihood.learned=perhaps", f"learned {TRUE_OR_FALSE}, got 'perhaps'"),
    case("model=structured_prediction model.layers=0", "model.layers must be a whole number of at least 1, got 0"),
    case("model=structured_prediction model.given=middle", "model.given must be one of top, bottom", "got 'middle'"),
    case("model=structured_prediction model.given=[]", "model.given must be one of top, bottom", "got []"),
    case("model=structured_prediction model/network=cnn", "model.network must be linear or mlp", "got CNN"),
    case(f"{SSL} model.num_classes=5", "model.num_classes must be at least the 10 of data.name = digits, got 5"),
    case(f"{SSL} model.labelled_batch_size=7", "model.labelled_batch_size must be", "= 50, got 7"),
    case(f"{SSL} model.classifier=foo", "model.classifier must be an object, by its _target_", "got 'foo'"),
    case(f"{SSL} model.alpha=-1", "model.alpha must be at least 0, got -1"),
    case(f"{SSL} model.alpha=null", "model.alpha must be a number, got None"),
    case(f"{SSL} model.dropout=1", "model.dropout must be at least 0 and below 1, got 1"),
    case(f"{SSL} model.warmup=-1", "model.warmup must be a whole number of at least 0, got -1"),
    # Optimisers.
    case("lr_schedule.hold=true", "lr_schedule.hold must be a number between 0 and 1, got True"),
    case("optimizer.algorithm=null", "optimizer.algorithm must be an object, by its _target_, got None"),
    case("optimizer.algorithm._target_=torch.optim.Foo", "optimizer.algorithm", "torch.optim.Foo"),
    case(
        "optimizer=sgd optimizer.algorithm.fused=maybe",
        f"optimizer.algorithm.fused {TRUE_OR_FALSE} or null, got 'maybe'",
    ),
    case("optimizer=sgd optimizer.algorithm.momentum=x", "optimizer.algorithm.momentum must be a number, got 'x'"),
    case("optimizer=sgd optimizer.algorithm.momentum=-1", "optimizer", "momentum", "-1"),
    # The trainer.
    case("trainer.accelerator=foo", "accelerator='foo'", "cpu"),
    case("trainer.devices=1.5", "trainer.devices must be", "a whole number", "got 1.5"),
    case("trainer.devices=abc", "trainer", "`devices`", "int > 0"),
    case("+trainer.strategy=foo", "strategy='foo'", "ddp"),
    case("trainer.max_epochs=1.5", "trainer.max_epochs must be a whole number of at least -1, got 1.5"),
    case("trainer.max_steps=null", "trainer.max_steps must be a whole number of at least -1, got None"),
    case("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val must be a number greater than 0, got -1"),
    case("trainer.num_sanity_val_steps=x", "trainer.num_sanity_val_steps must be a whole number", "got 'x'"),
    case("trainer.limit_train_batches=2.5", "trainer", "2.5", "limit_train_batches"),
    case("trainer.limit_train_batches=x", "trainer.limit_train_batches must be", "a number", "got 'x'"),
    case("trainer.limit_test_batches=0", "trainer.limit_test_batches must leave a batch to test, got 0"),
    case("+trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be a whole number", "got 0"),
    case("+trainer.val_check_interval=100", "trainer.val_check_interval must be from 1 to the 13 batches", "got 100"),
    case("+trainer.max_time=abc", "trainer", "'abc'", "DD:HH:MM:SS"),
    case("trainer.precision=16-mixed", "trainer.precision must be bf16-mixed on a CPU, got 16-mixed", "trainer=gpu"),
    case("trainer.detect_anomaly=maybe", f"trainer.detect_anomaly {TRUE_OR_FALSE}, got 'maybe'"),
    case("trainer.enable_model_summary=maybe", f"trainer.enable_model_summary {TRUE_OR_FALSE} or null, got 'maybe'"),
    case("+trainer.min_epochs=x", "trainer.min_epochs must be a whole number or null, got 'x'"),
    case("+trainer.profiler=foo", "trainer", "profiler", "'simple'"),
    # Callbacks and loggers.
    case("callbacks.progress=null", "callbacks.progress must be a Callback", "got None", "~callbacks.progress"),
    case("callbacks.pictures.every_n_epochs=-1", "callbacks.pictures.every_n_epochs must be", "at least 0, got -1"),
    case("callbacks.checkpoint.save_last=maybe", f"callbacks.checkpoint.save_last {TRUE_OR_FALSE}", "got 'maybe'"),
    case("callbacks=gradient_statistics callbacks.gradient_statistics.repeats=1", "repeats must be", "2, got 1"),
    case("callbacks.temperature._target_=nothing.Here", "callbacks.temperature", "nothing.Here"),
    case("logger.csv=null", "logger.csv must be a Logger", "got None", "~logger.csv"),
    case("logger.csv.path=null", "logger.csv.path must be text, got None"),
    case("callbacks.checkpoint.dirpath=/dev/null/a", "callbacks.checkpoint.dirpath must be a folder", "/dev/null/a"),
    case("callbacks.pictures.folder=/dev/null", "callbacks.pictures.folder must be a folder", "got '/dev/null'"),
    case("logger=tensorboard logger.tensorboard.save_dir=/dev/null", "logger.tensorboard.save_dir must be a folder"),
    case("logger=wandb logger.wandb.save_dir=/dev/null", "logger.wandb.save_dir must be a folder that can be written"),
    case("logger.csv.path=/dev/null/metrics.csv", "logger.csv.path must be in a folder that can be written"),
    case("logger=wandb logger.wandb.offline=maybe", f"logger.wandb.offline {TRUE_OR_FALSE}, got 'maybe'"),
    case("logger=wandb logger.wandb.log_model=maybe", "logger.wandb.log_model must be true, false or all, got 'maybe'"),
    case("logger=wandb logger.wandb.lowest=3", "logger.wandb.lowest must be a list or null, got 3"),
    # The run.
    case("seed=true", "seed must be a whole number of at least 0 and below 2^32, got True"),
    case("seed=1.5", "seed must be a whole number of at least 0 and below 2^32, got 1.5"),
    case("eval_samples=null", "eval_samples must be a whole number of at least 1, got None"),
    case("steps_per_loop=0", "steps_per_loop must be a whole number of at least 1, got 0"),
    case("compile=maybe", f"compile {TRUE_OR_FALSE} or auto, got 'maybe'"),
    case("compile=3", f"compile {TRUE_OR_FALSE} or auto, got 3"),
    case("paths.output_dir=/dev/null", "paths.output_dir must be a folder that can be written, got '/dev/null'"),
    case("hydra.run.dir=/dev/null/run", "/dev/null/run"),
    case("resume=/dev/null", "/dev/null is not the directory of a run"),
    # Sweeps.
    case("-m resume=nowhere seed=0,1", "resume = nowhere goes on with one run, and -m starts many"),
    case("-m seed=0,1 hydra/launcher=foo", "hydra/launcher = foo is not an option", "joblib"),
    case("sweep.resume=/dev/null", "sweep.resume = /dev/null is not the directory of a sweep"),
    case("sweep.resume=nowhere seed=3", "sweep.resume = nowhere is not the directory of a sweep"),
]


def assert_one_line(outcome: Outcome, *said: str) -> None:
    assert outcome.code == 1
    assert outcome.err.startswith("error: "), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.out == ""
    for words in said:
        assert words in outcome.err


@pytest.mark.parametrize(("line", "said"), one_in(4, BAD_SETTINGS))
def test_a_bad_setting_is_one_line_before_anything_is_trained(command, tmp_path, line, said):
    assert_one_line(command("train", *line.split(), ONE), *said)
    assert not {"checkpoints", "images", "metrics.csv"} & {path.name for path in tmp_path.rglob("*")}


# Of a run that is there


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory) -> Path:
    """A copy of the finished run that nothing may change."""
    return shutil.copytree(finished.folder, tmp_path_factory.mktemp("kept") / "run")


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("train", "resume={run} latent.kl=foo", "latent.kl = foo, where the run has analytic"),
        ("train", "resume={run} model.num_classes=7", "model.num_classes = 7, where the run has 4"),
        ("train", "resume={run} model.prior=uniform", "model.prior = uniform, where the run has learned"),
        ("train", "resume={run} trainer.max_steps=x", "trainer.max_steps must be a whole number"),
        ("train", "resume={run} compile=maybe", f"compile {TRUE_OR_FALSE}"),
        ("train", "resume={run} logger.csv=null", "logger.csv must be a Logger"),
        ("train", "resume={run}/checkpoints", "is not the directory of a run"),
        ("train", "resume={run}/results.json", "is not the directory of a run"),
        ("train", "hydra.run.dir={run}", "holds a run already"),
        ("train", "hydra.run.dir={run} resume=null seed=3", "holds a run already"),
        ("eval", "run=nowhere", "nowhere is not the directory of a run"),
        ("eval", "run={run}/.hydra", "is not the directory of a run"),
        ("eval", "ckpt=last", "run must be the directory of a finished run"),
        ("eval", "run={run} ckpt=newest", "ckpt must be best or last, got 'newest'"),
        ("eval", "run={run} split=train", "split must be val or test, got 'train'"),
        ("eval", "run={run} eval_samples=0", "eval_samples must be a whole number of at least 1, got 0"),
        ("eval", "run={run} latent=exact", "latent = exact"),
        ("eval", "run={run} data=mnist", "data = mnist"),
        ("eval", "run={run} model.network.hidden=[8]", "another model or architecture"),
        ("eval", "run={run} eval_sample=3", "did you mean eval_samples"),
        ("eval", "run={run} +trainer.limit_test_batches=0", "trainer.limit_test_batches must leave a batch"),
    ],
)
def test_a_bad_word_about_a_run_is_one_line_and_the_run_stays_as_it_was(command, run, name, line, said):
    before = snapshot(run)
    assert_one_line(command(name, *(word.format(run=run) for word in line.split())), said)
    assert snapshot(run) == before


Damage = Callable[[Path], object]


def written(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def saved(content: object) -> Damage:
    return lambda path: torch.save(content, path)


def without(name: str) -> Damage:
    """Takes a part out of a checkpoint."""

    def damage(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        del content[name]
        torch.save(content, path)

    return damage


NO_RUN = "is not the directory of a run"
NO_CHECKPOINT = "is not a checkpoint"


def damaged(file: str, how: str, damage: Damage, said: str) -> Any:
    return pytest.param(file, damage, said, id=f"{file}: {how}")


DAMAGES = [
    damaged(".hydra/config.yaml", "missing", Path.unlink, NO_RUN),
    damaged(".hydra/config.yaml", "empty", written(b""), NO_RUN),
    damaged(".hydra/config.yaml", "a list", written(b"[1, 2]"), NO_RUN),
    damaged(".hydra/config.yaml", "no YAML", written(b"a: [1\nb: }"), NO_RUN),
    damaged(".hydra/config.yaml", "bytes", written(bytes(range(256))), NO_RUN),
    damaged(".hydra/hydra.yaml", "missing", Path.unlink, NO_RUN),
    damaged(".hydra/hydra.yaml", "no YAML", written(b"a: [1\nb: }"), NO_RUN),
    damaged("checkpoints/{}.ckpt", "missing", Path.unlink, "has no checkpoint"),
    damaged("checkpoints/{}.ckpt", "empty", written(b""), NO_CHECKPOINT),
    damaged("checkpoints/{}.ckpt", "text", written(b"hello"), NO_CHECKPOINT),
    damaged("checkpoints/{}.ckpt", "cut", cut, NO_CHECKPOINT),
    damaged("checkpoints/{}.ckpt", "a list", saved([1, 2]), NO_CHECKPOINT),
    damaged("checkpoints/{}.ckpt", "no weights", saved({"epoch": 3}), NO_CHECKPOINT),
    damaged("checkpoints/{}.ckpt", "a list of weights", saved({"state_dict": [1]}), NO_CHECKPOINT),
    damaged("checkpoints/{}.ckpt", "other weights", saved({"state_dict": {"a": 1}}), NO_CHECKPOINT),
]


@pytest.mark.parametrize("name", ["resume", "eval", "load_run"])
@pytest.mark.parametrize(("file", "damage", "said"), DAMAGES)
def test_a_damaged_run_is_refused_in_one_line_and_stays_as_it_was(command, run, tmp_path, name, file, damage, said):
    folder = shutil.copytree(run, tmp_path / "run")
    damage(folder / file.format("last" if name == "resume" else "best"))
    before = snapshot(folder)
    if name == "load_run":
        if file == ".hydra/hydra.yaml":
            pytest.skip("not needed to load a run")
        with pytest.raises(UserError, match=said) as caught:
            load_run(folder)
        assert "\n" not in str(caught.value)
    else:
        words = {"resume": [f"resume={folder}", "trainer.max_epochs=3"], "eval": [f"run={folder}"]}
        assert_one_line(command("train" if name == "resume" else "eval", *words[name]), said)
    assert snapshot(folder) == before


@pytest.mark.parametrize("content", [b"step by step\n", b"notes\nof mine, a table\n", bytes(range(256))], ids=repr)
def test_a_file_that_is_no_table_of_metrics_is_not_written_over(command, run, tmp_path, content):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "metrics.csv").write_bytes(content)
    before = snapshot(folder)
    outcome = command("train", f"resume={folder}", "trainer.max_epochs=3")
    assert_one_line(outcome, f"{folder}/metrics.csv is not a table of metrics; move it away")
    assert snapshot(folder) == before


@pytest.mark.parametrize("part", ["optimizer_states", "loops", "noise"])
def test_a_checkpoint_without_all_that_a_run_goes_on_from_is_refused(command, run, tmp_path, part):
    folder = shutil.copytree(run, tmp_path / "run")
    without(part)(folder / "checkpoints" / "last.ckpt")
    before = snapshot(folder)
    assert_one_line(command("train", f"resume={folder}", "trainer.max_epochs=3"), NO_CHECKPOINT, part)
    assert snapshot(folder) == before


def test_a_checkpoint_of_another_model_is_refused(command, run, tmp_path):
    other = tmp_path / "other"
    words = ["experiment=sbn_digits", ONE, "callbacks.pictures.every_n_epochs=0", f"hydra.run.dir={other}"]
    assert command("train", *words).code == 0
    folder = shutil.copytree(run, tmp_path / "run")
    for which in ("best", "last"):
        shutil.copy(other / "checkpoints" / f"{which}.ckpt", folder / "checkpoints")
    before = snapshot(folder)
    for outcome in (command("train", f"resume={folder}"), command("eval", f"run={folder}")):
        assert_one_line(outcome, "is a checkpoint of another model or architecture")
    assert snapshot(folder) == before
