"""What the documentation shows for adding to the project works as written, from a folder of the user's own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how_to" / "extend.md").read_text()


def block(language: str, containing: str) -> str:
    """The page's code block in a language that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return next(text for text in blocks if containing in text)


FOUND = ["tests/latent/test_contract.py", "tests/latent/test_values.py", "tests/config/test_options.py"]
"""Tests that know an estimator by its YAML."""


@pytest.mark.slow
def test_an_estimator_a_network_and_a_data_set_of_ones_own_train_together(tmp_path: Path):
    configs = tmp_path / "configs"
    for group in ("latent", "data", "model/network"):
        (configs / group).mkdir(parents=True)
    (tmp_path / "my_latent.py").write_text(block("python", "class Identity"))
    yaml = block("yaml", "Identity").replace("discrete_latents.latent.pathwise.identity", "my_latent")
    (configs / "latent" / "identity.yaml").write_text(yaml)
    (configs / "data" / "mine.yaml").write_text(block("yaml", "my_package.load_mine"))
    (configs / "model" / "network" / "mine.yaml").write_text(block("yaml", "my_package.MyNetwork"))
    (tmp_path / "my_package.py").write_text(
        "from discrete_latents.data import digits as load_mine\n"
        "from discrete_latents.networks import MLP as MyNetwork\n"
    )
    command = [sys.executable, "-m", "discrete_latents"]
    chosen = ["--config-dir", "configs", "latent=identity", "data=mine", "model/network=mine"]
    settings = ["debug=one_batch", f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run([*command, *chosen, *settings], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "identity" in (tmp_path / "run" / "results.json").read_text()
    listed = subprocess.run(
        [*command, "--config-dir", "configs", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "identity" in listed.stdout


@pytest.mark.slow
def test_an_estimator_is_tested_by_being_there(tmp_path: Path):
    """In a copy of the project with one more file and one more YAML, the tests find it, run it, and it passes."""
    for part in ("src", "configs", "scripts", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, tmp_path)
    pathwise = tmp_path / "src" / "discrete_latents" / "latent" / "pathwise"
    (pathwise / "identity.py").write_text(block("python", "class Identity"))
    (tmp_path / "configs" / "latent" / "identity.yaml").write_text(block("yaml", "Identity"))
    command = [sys.executable, "-m", "pytest", "-q", "-k", "identity", *FOUND]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed > 30, done.stdout  # its contract, its values, and all three models
