"""What the README shows for adding to the project works as written, from a folder of the user's own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The README's code block in a language that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if containing in text)


@pytest.mark.slow
def test_an_estimator_a_network_and_a_data_set_of_ones_own_train_together(tmp_path: Path):
    configs = tmp_path / "configs"
    for group in ("latent", "data", "model/network"):
        (configs / group).mkdir(parents=True)
    estimator = block("python", "class StraightThrough")
    imports = (
        "from discrete_latents.latent import Pathwise, layout\n"
        "from discrete_latents.latent.distributions import sample_codes\n\n"
    )
    (tmp_path / "my_latent.py").write_text(imports + estimator)
    yaml = block("yaml", "StraightThrough").replace("discrete_latents.latent.straight_through", "my_latent")
    (configs / "latent" / "straight_through.yaml").write_text(yaml)
    (configs / "data" / "mine.yaml").write_text(block("yaml", "my_package.load_mine"))
    (configs / "model" / "network" / "mine.yaml").write_text(block("yaml", "my_package.MyNetwork"))
    (tmp_path / "my_package.py").write_text(
        "from discrete_latents.data import digits as load_mine\n"
        "from discrete_latents.networks import MLP as MyNetwork\n"
    )
    command = [sys.executable, "-c", "from discrete_latents.launch import train_main; train_main()"]
    chosen = ["--config-dir", "configs", "latent=straight_through", "data=mine", "model/network=mine"]
    settings = ["debug=one_batch", f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run([*command, *chosen, *settings], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "straight_through" in (tmp_path / "run" / "results.json").read_text()
    listed = subprocess.run(
        [*command, "--config-dir", "configs", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "straight_through" in listed.stdout
