"""Every argument of Lightning's Trainer and every callback of Lightning's: honoured, with the effect to see, or refused
in one line before training. One that a newer Lightning adds fails here until somebody decides."""

import inspect
import shlex

import lightning.pytorch as pl
import lightning.pytorch.callbacks as lightning_callbacks
import pytest
import torch

from discrete_latents.config.compose import composed
from discrete_latents.errors import UserError
from discrete_latents.training import lightning_settings
from discrete_latents.training.build import build_data, build_model, build_trainer
from discrete_latents.training.lightning_settings import (
    HONOURED,
    HONOURED_CALLBACKS,
    REFUSED,
    REFUSED_CALLBACKS,
    check_trainer,
)
from discrete_latents.training.train import train
from tests.helpers.tables import one_in, rest_is_slow

ARGUMENTS = set(inspect.signature(pl.Trainer).parameters)
SMALL = [
    *("model.num_latents=3", "model.num_classes=4", "model.network.hidden=[16]", "trainer.max_epochs=1"),
    *("eval_samples=5", "~callbacks.progress", "~callbacks.pictures"),
]


def configured(tmp_path, *words):
    return composed([*SMALL, f"paths.output_dir={tmp_path}/run", *words])


def test_every_argument_of_the_trainer_has_its_place():
    assert HONOURED | REFUSED.keys() == ARGUMENTS
    assert not HONOURED & REFUSED.keys()
    assert EFFECTS.keys() | BY_OTHERS == HONOURED


def test_every_callback_of_lightning_has_its_place():
    subclasses = {"BackboneFinetuning": "BaseFinetuning", "EMAWeightAveraging": "WeightAveraging"}
    for name, base in subclasses.items():
        assert issubclass(getattr(lightning_callbacks, name), getattr(lightning_callbacks, base))
    assert HONOURED_CALLBACKS | REFUSED_CALLBACKS.keys() | subclasses.keys() == set(lightning_callbacks.__all__)


OTHER_VALUES = {
    "logger": "false",
    "callbacks": "[]",
    "enable_checkpointing": "true",
    "overfit_batches": "3",
    "limit_predict_batches": "2",
    "barebones": "true",
    "model_registry": "a",
    "reload_dataloaders_every_n_epochs": "1",
    "use_distributed_sampler": "true",
}


@pytest.mark.parametrize("name", one_in(3, list(REFUSED)))
def test_an_argument_without_effect_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=rf"^trainer\.{name} (must be|is not a setting)[^\n]*, got [^\n]*: [^\n]+$"):
        build_trainer(configured(tmp_path, f"++trainer.{name}={OTHER_VALUES[name]}"))


@pytest.mark.parametrize("name", rest_is_slow(sorted(ARGUMENTS - {"max_epochs"})))
def test_a_variable_that_lightning_would_heed_is_refused(tmp_path, monkeypatch, name):
    config = configured(tmp_path)
    monkeypatch.setenv(f"PL_TRAINER_{name.upper()}", "1")
    if name in config.trainer:
        build_trainer(config)  # what is set is set
    else:
        with pytest.raises(UserError, match=f"the variable PL_TRAINER_{name.upper()} must not be set"):
            build_trainer(config)


CALLBACKS = {
    "BackboneFinetuning": "",
    "BaseFinetuning": "",
    "BasePredictionWriter": "",
    "BatchSizeFinder": "",
    "EMAWeightAveraging": "",
    "GradientAccumulationScheduler": ",scheduling:{4:2}",
    "LearningRateFinder": "",
    "ModelPruning": ",pruning_fn:l1_unstructured",
    "StochasticWeightAveraging": ",swa_lrs:0.01",
    "WeightAveraging": "",
}


@pytest.mark.parametrize("name", one_in(3, list(CALLBACKS)))
def test_a_callback_that_is_not_kept_to_is_refused(tmp_path, name):
    config = configured(tmp_path, f"+callbacks.x={{_target_:lightning.pytorch.callbacks.{name}{CALLBACKS[name]}}}")
    with pytest.raises(UserError, match=rf"^callbacks\.x must not be a {name}: [^\n]+$"):
        build_trainer(config)


BAD_VALUES = [
    ("+trainer.strategy=ddp_spawn", "trainer.strategy must be one that starts processes by themselves"),
    ("+trainer.strategy=ddp_fork", "trainer.strategy must be one that starts processes by themselves"),
    ("+trainer.strategy=ddp_notebook", "trainer.strategy must be one that starts processes by themselves"),
    ("+trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_algorithm must be null where gradient_clip_val"),
    ("trainer.gradient_clip_val=1 +trainer.gradient_clip_algorithm=foo", "trainer: .*foo"),
    ("+trainer.val_check_interval='\"00:00:01:00\"'", "trainer.val_check_interval must be a number of batches"),
    ("+trainer.val_check_interval={minutes:5}", "trainer.val_check_interval must be a number of batches"),
    ("trainer.default_root_dir=elsewhere", "trainer.default_root_dir must be paths.output_dir"),
    ("+trainer.sync_batchnorm=true", "trainer.sync_batchnorm must be false with no batch normalisation"),
    (
        "+trainer.plugins=[{_target_:lightning.pytorch.plugins.AsyncCheckpointIO}]",
        "trainer.plugins must have no AsyncCheckpointIO",
    ),
    (
        "logger=[] +callbacks.x._target_=lightning.pytorch.callbacks.LearningRateMonitor",
        "a LearningRateMonitor must have a logger",
    ),
    (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/nelb}",
        "EarlyStopping's monitor must be a metric that validation logs, got 'val/nelb'; did you mean val/nelbo",
    ),
    (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:images_per_second}",
        "EarlyStopping's monitor must be a metric that validation logs",
    ),
    (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/nelbo,mode:max}",
        "EarlyStopping's mode must be min for val/nelbo",
    ),
    (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/nelbo} +trainer.limit_val_batches=0",  # noqa: E501
        "EarlyStopping's monitor = val/nelbo needs validation",
    ),
]


@pytest.mark.parametrize(("words", "said"), one_in(3, BAD_VALUES))
def test_a_value_that_cannot_be_honoured_is_refused_before_training(tmp_path, words, said):
    with pytest.raises(UserError, match=said) as refused:
        train(configured(tmp_path, *shlex.split(words)), {"experiment": "x", "latent": "y"})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


class Watch(pl.Callback):
    """What a fit and its test came to."""

    def __init__(self):
        self.validations = self.sanity = self.tests = self.grad_enabled = 0
        self.gradients: list[float] = []
        self.inference: list[bool] = []
        self.deterministic = self.benchmark = self.anomaly = None

    def on_validation_batch_end(self, trainer, *_):
        self.sanity += trainer.sanity_checking
        self.validations += not trainer.sanity_checking
        self.inference.append(torch.is_inference_mode_enabled())

    def on_test_batch_end(self, *_):
        self.tests += 1

    def on_before_zero_grad(self, trainer, module, optimizer):
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        if gradients:
            self.gradients.append(max(float(gradient.abs().max()) for gradient in gradients))

    def on_train_batch_start(self, trainer, *_):
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.benchmark = torch.backends.cudnn.benchmark
        self.anomaly = torch.is_anomaly_enabled()


BY_OTHERS = {"accelerator", "strategy", "devices", "num_nodes", "plugins", "sync_batchnorm", "default_root_dir"}
"""By tests of distributed training and of GPUs, and by the refusals above."""

EFFECTS = {
    "precision": ("trainer.precision=64-true", lambda run, w, t: next(t.model.parameters()).dtype == torch.float64),
    "max_epochs": ("trainer.max_epochs=2", lambda run, w, t: run["epochs"] == 2),
    "min_epochs": (
        "trainer.max_epochs=5 +trainer.min_epochs=3 +trainer.max_time=00:00:00:00",
        lambda run, w, t: run["epochs"] == 3,
    ),
    "max_steps": ("trainer.max_steps=5", lambda run, w, t: run["steps"] == 5),
    "min_steps": (
        "trainer.max_epochs=5 +trainer.min_steps=20 +trainer.max_time=00:00:00:00",
        lambda run, w, t: 20 <= run["steps"] < 65,
    ),
    "max_time": ("trainer.max_epochs=1000 +trainer.max_time=00:00:00:00", lambda run, w, t: run["steps"] < 13),
    "limit_train_batches": ("+trainer.limit_train_batches=3", lambda run, w, t: run["steps"] == 3),
    "limit_val_batches": ("data.eval_batch_size=50 +trainer.limit_val_batches=1", lambda run, w, t: w.validations == 1),
    "limit_test_batches": ("data.eval_batch_size=50 +trainer.limit_test_batches=2", lambda run, w, t: w.tests == 2),
    "fast_dev_run": (
        "data.eval_batch_size=50 +trainer.fast_dev_run=2",
        lambda run, w, t: (run["steps"], w.tests) == (2, 2),
    ),
    "val_check_interval": ("+trainer.val_check_interval=5", lambda run, w, t: w.validations == 2),
    "check_val_every_n_epoch": (
        "trainer.max_epochs=2 trainer.check_val_every_n_epoch=2",
        lambda run, w, t: w.validations == 1,
    ),
    "num_sanity_val_steps": ("trainer.num_sanity_val_steps=1", lambda run, w, t: w.sanity == 1),
    "log_every_n_steps": ("trainer.log_every_n_steps=2", lambda run, w, t: t.log_every_n_steps == 2),
    "enable_progress_bar": (
        "callbacks.progress._target_=discrete_latents.callbacks.RunProgress +trainer.enable_progress_bar=false",
        lambda run, w, t: t.progress_bar_callback is None,
    ),
    "enable_model_summary": (
        "trainer.enable_model_summary=true",
        lambda run, w, t: any(isinstance(c, lightning_callbacks.ModelSummary) for c in t.callbacks),
    ),
    "enable_autolog_hparams": (
        "logger=[csv,tensorboard] +trainer.enable_autolog_hparams=false",
        lambda run, w, t: not t.loggers[1].hparams,
    ),
    "accumulate_grad_batches": ("+trainer.accumulate_grad_batches=4", lambda run, w, t: run["steps"] == 4),
    "gradient_clip_val": ("trainer.gradient_clip_val=1e-3", lambda run, w, t: max(w.gradients) <= 1e-3),
    "gradient_clip_algorithm": (
        "trainer.gradient_clip_val=1e-3 +trainer.gradient_clip_algorithm=value",
        lambda run, w, t: max(w.gradients) == pytest.approx(1e-3),
    ),
    "deterministic": ("+trainer.deterministic=true", lambda run, w, t: w.deterministic),
    "benchmark": ("+trainer.benchmark=true", lambda run, w, t: w.benchmark),
    "inference_mode": ("+trainer.inference_mode=false", lambda run, w, t: not any(w.inference)),
    "profiler": ("+trainer.profiler=simple", lambda run, w, t: "run_training_batch" in t.profiler.summary()),
    "detect_anomaly": ("trainer.detect_anomaly=true", lambda run, w, t: w.anomaly),
}
"""Settings, and what is then so of the results, of what a callback saw, and of the trainer."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", rest_is_slow(list(EFFECTS), 4))
def test_an_argument_that_is_honoured_has_its_effect(tmp_path, monkeypatch, name):
    words, holds = EFFECTS[name]
    without_bar = [word for word in SMALL if not (word == "~callbacks.progress" and name == "enable_progress_bar")]
    monkeypatch.setattr("tests.training.test_lightning_settings.SMALL", without_bar)
    kept = {}
    monkeypatch.setattr(
        "discrete_latents.training.train.build_trainer",
        lambda config, **how: kept.setdefault("trainer", build_trainer(config, **how)),
    )
    flags = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    try:
        watch = Watch()
        results = train(configured(tmp_path, *words.split()), {"experiment": "x", "latent": "y"}, callbacks=[watch])
    finally:
        torch.use_deterministic_algorithms(flags[0])
        torch.backends.cudnn.benchmark = flags[1]
    assert results["status"] == "completed"
    assert holds(results, watch, kept["trainer"])


def test_synchronised_batch_normalisation_needs_several_processes(tmp_path):
    config = configured(tmp_path, "+trainer.sync_batchnorm=true")
    model = build_model(config, build_data(config))
    model.extra = torch.nn.BatchNorm1d(3)
    with pytest.raises(UserError, match="sync_batchnorm must be false with one process"):
        check_trainer(config, build_trainer(config), model)


def test_values_are_said_as_yaml_has_them():
    assert [lightning_settings.as_yaml(value) for value in (None, True, 3)] == ["null", "true", "3"]
