"""Packages that are installed only where they are asked for: pyproject.toml's extras."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from discrete_latents.config import extras
from discrete_latents.config.compose import composed
from discrete_latents.config.composition_errors import composition_error
from discrete_latents.errors import UserError
from discrete_latents.search import command as search

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = {"wandb", "tensorboard", "optuna", "hydra-joblib-launcher", "hydra-submitit-launcher"}


def names(requirements: list[str]) -> set[str]:
    """The packages that requirements name, those of our own extras in their place."""
    found = set()
    for requirement in requirements:
        name, own = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", requirement).groups()  # type: ignore[union-attr]
        own = own.split(",") if own and name == PROJECT["name"] else []
        found |= names([each for extra in own for each in EXTRAS[extra]]) if own else {name}
    return found


def test_what_few_need_is_an_extra():
    assert not names(PROJECT["dependencies"]) & {*OPTIONAL, "vector-quantize-pytorch"}
    assert {"wandb", "tensorboard", "sweep", "tokenizer", "all"} <= EXTRAS.keys()


def test_make_install_installs_all_that_the_readme_needs():
    assert "'.[dev]'" in (ROOT / "Makefile").read_text()
    for extra in ("all", "dev"):
        assert names(EXTRAS[extra]) >= OPTIONAL


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_logger_without_its_package_is_one_line(command, monkeypatch, tmp_path, name):
    monkeypatch.setattr(extras, "is_installed", lambda package: False)
    outcome = command("train", f"logger=[csv,{name}]", "hydra.run.dir=run")
    assert outcome.code == 1
    assert outcome.err == (
        f"error: logger.{name} needs {name}, which is not installed: pip install 'discrete-latents[{name}]', or leave "
        f"it out with ~logger.{name}\n"
    )


def test_any_of_the_packages_that_serve_is_enough(monkeypatch):
    config = composed(["logger=[csv,tensorboard]"])
    monkeypatch.setattr(extras, "is_installed", lambda package: package == "tensorboardX")
    extras.check_extras(config)
    monkeypatch.setattr(extras, "is_installed", lambda package: package == "wandb")
    with pytest.raises(UserError, match=r"needs tensorboard, which .* 'discrete-latents\[tensorboard\]'"):
        extras.check_extras(config)


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    """W&B leaves a folder `wandb` where it is used."""
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not extras.is_installed("no_such_package")
    assert not extras.is_installed("no_such_package_at_all")
    assert extras.is_installed("wandb")


@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm"])
def test_a_launcher_without_its_package_is_one_line(launcher):
    plugin = launcher.partition("_")[0]
    said = composition_error(f"Could not find 'hydra/launcher/{launcher}'", ())
    assert said == (
        f"launcher needs hydra-{plugin}-launcher, which is not installed: pip install 'discrete-latents[sweep]'"
    )


def test_a_search_without_optuna_is_one_line(monkeypatch, capsys):
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'optuna'", name="optuna")

    monkeypatch.setattr(search, "search_for", missing)
    monkeypatch.setattr(sys, "argv", ["search"])
    with pytest.raises(SystemExit):
        search.search_main()
    said = capsys.readouterr().err
    assert said == "error: a search needs optuna, which is not installed: pip install 'discrete-latents[sweep]'\n"
