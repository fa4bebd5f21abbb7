"""Trained runs for the tests and the doctests: one of each model, a moment's training on the digits."""

from pathlib import Path

import pytest


def trained(folder: Path, experiment: str) -> Path:
    """A run directory as train.py leaves it."""
    from discrete_latents.config.compose import composed
    from discrete_latents.runs.directory import RunDirectory
    from discrete_latents.training.train import train

    overrides = [f"experiment={experiment}", "trainer.max_epochs=2", "eval_samples=5", f"paths.output_dir={folder}"]
    config = composed(overrides)
    RunDirectory(folder).save_config(config)
    train(config, {"experiment": experiment, "latent": "gumbel_softmax"})
    return folder


@pytest.fixture(scope="session")
def vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "vae", "vae_digits")


@pytest.fixture(scope="session")
def sbn_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "sbn", "sbn_digits")


@pytest.fixture(scope="session")
def ssl_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "ssl", "ssl_digits")


@pytest.fixture(scope="session")
def vectors_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "vectors", "vae_vectors")


@pytest.fixture(autouse=True)
def _names_of_doctests(request: pytest.FixtureRequest) -> None:
    """What the examples of `discrete_latents.api` start from."""
    if isinstance(request.node, pytest.DoctestItem):
        from discrete_latents.data import digits

        runs = {name: request.getfixturevalue(name) for name in ("vae_run", "sbn_run", "ssl_run")}
        request.getfixturevalue("doctest_namespace").update(runs, images=digits().test.grey[:30])
