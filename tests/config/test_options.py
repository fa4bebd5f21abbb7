"""Every experiment and every option of every group, found in the folders, composes and runs a batch of everything."""

import json
import math
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

with warnings.catch_warnings():
    warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)  # OmegaConf's DictConfig
    from discrete_latents.errors import UserError
    from discrete_latents.models import LatentModel
    from discrete_latents.training.build import make_model
    from discrete_latents.training.train import train
    from tests.helpers.problems import QUANTIZERS, traits
    from tests.helpers.tables import one_in, slow

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = {
    str(folder.relative_to(CONFIGS)): sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONFIGS.rglob("*"))
    if folder.is_dir() and any(folder.glob("*.yaml"))
}
EXPERIMENTS = sorted(
    str(path.relative_to(CONFIGS / "experiment").with_suffix("")) for path in (CONFIGS / "experiment").rglob("*.yaml")
)
OPTIONS = [
    (group, option)
    for group, options in GROUPS.items()
    for option in options
    if group.split("/")[0] not in ("experiment", "search")  # of discrete-latents-search: see tests/cli/test_search.py
    and (group, option) != ("logger", "mlflow")  # not installed here
]
NEEDED = {("data", "digit_counts"): ["model/likelihood=poisson"]}
"""What an option needs beside the defaults."""

LARGE = {("data", "cifar10"), ("data", "svhn"), ("data", "omniglot"), ("experiment", "tokenizer_cifar10")}
"""Options whose files cannot be made here: see tests/data/test_sources.py and test_omniglot.py."""

SECOND_STAGE = {("data", "codes"), ("model", "code_prior"), ("experiment", "code_prior")}
"""Options that need the run of a tokeniser: see tests/priors."""

MODELS = [model for model in GROUPS["model"] if ("model", model) not in SECOND_STAGE]

SEMI_SUPERVISED = ["data.labelled=50", "data.labelled_batch_size=50"]


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Puts back what training leaves in the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def fake_data(tmp_path_factory) -> Path:
    """Files in the format of MNIST and of its relatives, full-sized, random."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for dataset in ("MNIST", "FashionMNIST", "KMNIST"):
        raw = root / dataset / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 60_000), ("t10k", 10_000)):
            images, labels = raw / f"{part}-images-idx3-ubyte", raw / f"{part}-labels-idx1-ubyte"
            if dataset == "MNIST":
                images.write_bytes(struct.pack(">4I", 2051, count, 28, 28) + random.bytes(count * 28 * 28))
                labels.write_bytes(struct.pack(">2I", 2049, count) + bytes(range(10)) * (count // 10))
            else:
                images.symlink_to(root / "MNIST" / "raw" / images.name)
                labels.symlink_to(root / "MNIST" / "raw" / labels.name)
    (root / "arrays").mkdir()
    for split in ("train", "val", "test"):
        np.save(root / "arrays" / f"{split}_images.npy", random.integers(0, 256, (200, 10, 8), dtype=np.uint8))
        np.save(root / "arrays" / f"{split}_labels.npy", np.arange(200) % 10)
    return root


def composed(*words: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(words))


def word(group: str, option: str) -> str:
    return f"{group}=[{option}]" if group == "logger" else f"{group}={option}"


def tiny(words: list[str], folder: Path) -> DictConfig:
    """A configuration whose run is one batch of each split, with few samples and, where it has them, few latents."""
    words = [*words, f"paths.output_dir='{folder}'", "eval_samples=5"]
    if not any(given.startswith("debug=") for given in words):
        words.append("debug=one_batch")
    model = composed(*words).model
    if "num_latents" in model:
        words += ["model.num_latents=2", "model.num_classes=3"]
    elif str(model._target_).endswith("ImageTokenizer"):  # 2×2 latents of the digits
        words += ["model.num_classes=4"]
    if "num_styles" in model:
        words += SEMI_SUPERVISED
    return composed(*words)


def run(config: DictConfig) -> dict:
    """Trains, and looks at what every run has to have."""
    results = train(config, {"experiment": "any", "latent": "any"})
    folder = Path(config.paths.output_dir)
    assert results["status"] == "completed"
    assert results["metrics"].keys() >= {"test/nelbo", "test/nll", "test/reconstruction", "test/kl"}
    assert all(math.isfinite(value) for value in results["metrics"].values())
    assert json.loads((folder / "results.json").read_text()) == results
    assert list((folder / "images").glob("*.png")) or "pictures" not in (config.callbacks or {})
    return results


def test_the_groups_and_experiments_are_found():
    assert set(GROUPS) >= {"callbacks", "data", "debug", "experiment", "latent", "logger", "paths", "trainer"}
    assert set(GROUPS) >= {"model", "model/network", "model/likelihood", "optimizer", "temperature"}
    assert set(EXPERIMENTS) >= {"vae_digits", "vae_mnist"}
    assert set(GROUPS["latent"]) >= {"gumbel_softmax", "st_gumbel", "concrete", "exact"}
    assert all(GROUPS.values())


@pytest.mark.parametrize("experiment", one_in(2, EXPERIMENTS))
def test_every_experiment_runs(experiment, fake_data, tmp_path):
    if ("experiment", experiment) in LARGE | SECOND_STAGE:
        pytest.skip("needs more than the files of a test")
    results = run(tiny([f"experiment={experiment}", f"paths.data_dir={fake_data}"], tmp_path))
    assert (results["epochs"], results["steps"]) == (1, 1)


@pytest.mark.parametrize(("group", "option"), one_in(3, OPTIONS), ids=[word(*pair) for pair in OPTIONS])
def test_every_option_of_every_group_runs(group, option, fake_data, tmp_path, monkeypatch):
    if group == "latent":
        pytest.skip("runs with every model below")
    if (group, option) in LARGE | SECOND_STAGE:
        pytest.skip("needs more than the files of a test")
    words = [word(group, option), f"paths.data_dir={fake_data}", *NEEDED.get((group, option), ())]
    if group == "logger" and option == "wandb":
        words.append("logger.wandb.offline=true")
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            monkeypatch.setenv(name, str(tmp_path / "caches"))
    if group == "debug":
        limits = [f"trainer.limit_{split}_batches" for split in ("train", "val", "test")]
        words += ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.log_every_n_steps=1"]
        words += [f"++{limit}=1" for limit in limits]
    config = tiny(words, tmp_path)
    if group == "trainer" and option == "ddp_sim":
        pytest.skip("starts a second process: see tests/cli/test_ddp.py")
    if group == "trainer" and config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("needs a GPU; its configuration composes")
    if (group, option) == ("trainer", "mps") and not torch.backends.mps.is_available():
        pytest.skip("needs Apple's GPU; its configuration composes")
    if group == "trainer" and option in ("ddp", "ddp_multi_node", "fsdp"):
        pytest.skip("starts other processes; its configuration composes")
    run(config)


# By default each estimator trains one model, the models in turn.
@pytest.mark.parametrize(
    ("latent", "model"),
    [
        (latent, model) if index % len(MODELS) == number else slow((latent, model))
        for index, latent in enumerate(GROUPS["latent"])
        for number, model in enumerate(MODELS)
    ],
)
def test_every_estimator_trains_every_model(latent, model, tmp_path):
    words = [f"model={model}", f"latent={latent}"]
    config = tiny(words, tmp_path)
    if latent in QUANTIZERS:
        pytest.importorskip("vector_quantize_pytorch", reason="needs the extra tokenizer")
        if model != "image_tokenizer":
            with pytest.raises(UserError, match="is a deterministic code with no KL: choose model=image_tokenizer"):
                run(config)
            return
    if latent not in QUANTIZERS and traits(latent).bernoulli:
        with pytest.raises(UserError, match="defined for Bernoulli latents, num_classes = 2, got"):
            run(config)
        if "num_styles" in config.model:
            return  # as many classes as the data has
        config.model.num_classes = 2
    results = run(config)
    with (tmp_path / "metrics.csv").open() as file:
        columns = file.readline()
    relaxed = "test/relaxed_nelbo" in results["metrics"]
    assert ("train/relaxed_nelbo" in columns) == relaxed
    assert ("train/nelbo" in columns) != relaxed


@pytest.mark.parametrize("temperature", GROUPS["temperature"])
@pytest.mark.parametrize("experiment", one_in(4, EXPERIMENTS))
def test_every_temperature_goes_with_every_experiment(experiment, temperature):
    if ("experiment", experiment) in SECOND_STAGE:
        pytest.skip("has no temperature")
    config = composed(f"experiment={experiment}", f"temperature={temperature}")
    assert isinstance(make_model(config, (1, 28, 28)), LatentModel)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_on_top_what_it_is(experiment):
    first, second = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text().splitlines()[:2]
    assert first == "# @package _global_"
    assert second.startswith("# ")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_interpolation_resolves_and_nothing_is_missing(experiment, tmp_path):
    config = composed(f"experiment={experiment}", f"paths.output_dir={tmp_path}")
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


@pytest.mark.mnist
def test_real_mnist_runs(mnist_root, tmp_path):
    results = run(tiny(["data=mnist", f"paths.data_dir={mnist_root}"], tmp_path))
    assert 100 < results["metrics"]["test/nelbo"] < 250  # the base rate: 206 nats


def test_a_linear_network_has_no_hidden_layers():
    model = make_model(composed("model/network=linear"), (1, 8, 8))
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model.modules()) == 2  # the encoder and the decoder


def test_overfitting_sees_the_same_three_batches_in_every_epoch(tmp_path, monkeypatch):
    seen = []
    step = LatentModel.training_step

    def recorded(self: LatentModel, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        seen.append(batch[0].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(LatentModel, "training_step", recorded)
    run(tiny(["debug=overfit", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1"], tmp_path))
    assert len(seen) == 6
    assert all(torch.equal(first, second) for first, second in zip(seen[:3], seen[3:], strict=True))
