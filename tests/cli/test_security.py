"""What is read is never run: checkpoints, results and configurations of others; and what is written holds no secret."""

import ast
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import ROOT, SMALL, shell
from tests.cli.test_untrusted_runs import refused
from tests.helpers.tables import rest_is_slow

FILES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), ROOT / "train.py", ROOT / "eval.py"])
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


# Source


def calls(path: Path) -> Iterator[tuple[str, dict[str | None, Any]]]:
    """Every call in a file: the name that is called, as it is written, and its keyword arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def test_the_files_are_found():
    assert {"train.py", "finished_runs.py", "comparison.py", "training_run.py"} <= {path.name for path in FILES}
    assert any(name == "torch.load" for path in FILES for name, _ in calls(path))
    assert any("ckpt_path" in given for path in FILES for _, given in calls(path))


@each_file
def test_nothing_is_evaluated(path):
    forbidden = {"eval", "exec", "__import__", "os.system", "os.popen", "OmegaConf.register_new_resolver"}
    named = {"OmegaConf.register_new_resolver"} if path.name == "compose.py" else set()  # experiment_name alone
    if path.parts[-2:] == ("documentation", "notebooks.py"):
        named = {"exec", "eval"}  # of the scripts in docs/, when the site is built
    for name, given in calls(path):
        assert name not in forbidden - named
        assert given.get("shell") in (None, "False")


@each_file
def test_nothing_is_unpickled(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} & {
        name.split(".")[0] for name in imported
    }
    for name, given in calls(path):
        last = name.split(".")[-1]
        if name == "torch.load" or last == "load_from_checkpoint" or "ckpt_path" in given:
            assert given.get("weights_only") == "True", f"{name} of {path.name}"
        if last in ("load", "unsafe_load", "full_load", "load_all") and name.startswith("yaml."):
            assert given.get("Loader") in ("yaml.SafeLoader", "yaml.CSafeLoader")
        assert given.get("allow_pickle") in (None, "False")


def test_configurations_compute_nothing():
    """Interpolations name variables, Hydra's own values, the time and the experiment; no resolver evaluates."""
    text = "".join(path.read_text() for path in (ROOT / "configs").rglob("*.yaml"))
    assert set(re.findall(r"\$\{([\w.]+):", text)) == {"oc.env", "hydra", "now", "experiment_name"}


def test_configurations_make_nothing_but_the_projects_own_and_its_libraries():
    text = "".join(path.read_text() for path in (ROOT / "configs").rglob("*.yaml"))
    made = {name.split(".")[0] for name in re.findall(r"_target_: ([\w.]+)", text)}
    assert made == {"discrete_latents", "lightning", "optuna", "torch"}


# Files of others


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


def beside_good_weights(path: Path, bomb: Bomb) -> None:
    torch.save(torch.load(path, weights_only=True) | {"extra": bomb}, path)


ATTACKS: dict[str, Callable[[Path, Bomb], object]] = {
    "a pickle": lambda path, bomb: path.write_bytes(pickle.dumps(bomb)),
    "in the place of the weights": lambda path, bomb: torch.save({"state_dict": bomb}, path),
    "beside good weights": beside_good_weights,
    "in the format before zip": lambda path, bomb: torch.save(
        {"state_dict": bomb}, path, _use_new_zipfile_serialization=False
    ),
}


@pytest.fixture
def attacked(finished, tmp_path) -> Path:
    return shutil.copytree(finished.folder, tmp_path / "run")


@pytest.mark.parametrize("attack", rest_is_slow(list(ATTACKS), 1))
@pytest.mark.parametrize(
    ("how", "which"), [("resume", "last"), ("resume", "best"), ("eval", "best"), ("load_run", "best")]
)
def test_code_in_a_checkpoint_is_refused_and_not_run(command, attacked, tmp_path, how, which, attack):
    path, mark = attacked / "checkpoints" / f"{which}.ckpt", tmp_path / "was run"
    ATTACKS[attack](path, Bomb(mark))
    line = refused(command, how, attacked)
    assert not mark.exists()
    assert f"{path} is refused: it holds other things than tensors and plain values" in line
    assert "weights_only" not in line  # torch's advice is to load it without


def test_the_attacks_would_work(attacked, tmp_path):
    for number, attack in enumerate(ATTACKS.values()):
        path, mark = tmp_path / f"{number}.ckpt", tmp_path / f"{number} was run"
        shutil.copy(attacked / "checkpoints" / "last.ckpt", path)
        attack(path, Bomb(mark))
        if number == 0:
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
        assert mark.exists()


@pytest.mark.parametrize("how", ["resume", "eval", "load_run"])
@pytest.mark.parametrize(
    "line",
    ["extra: !!python/object/apply:os.system [{}]", "model: {{_target_: os.system, command: {}}}"],
    ids=["YAML", "target"],
)
def test_code_in_a_configuration_is_refused_and_not_run(command, attacked, tmp_path, how, line):
    mark = tmp_path / "was run"
    config = attacked / ".hydra" / "config.yaml"
    kept = re.sub(r"(?m)^model:\n(  .*\n)+", "", config.read_text()) if line.startswith("model") else config.read_text()
    config.write_text(kept + line.format(f"\"touch '{mark}'\"") + "\n")
    refused(command, how, attacked)
    assert not mark.exists()


# Secrets

SECRETS = {"WANDB_API_KEY": "0123456789abcdef" * 3, "DATABASE_PASSWORD": "correct-horse-battery-staple"}


@pytest.mark.slow
def test_no_secret_of_the_environment_is_in_what_a_run_leaves(tmp_path):
    loggers = ["logger=[csv,tensorboard,wandb]", "logger.wandb.offline=true"]
    own = {name: str(tmp_path / "wandb home") for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")}
    words = [*SMALL, "trainer.max_epochs=1", *loggers, f"hydra.run.dir={tmp_path}/run"]
    done = shell("train.py", *words, cwd=tmp_path, **SECRETS, **own)
    assert done.code == 0, done.err
    failed = shell("train.py", *words, "seed=-1", cwd=tmp_path, **SECRETS, **own)
    assert failed.code == 1
    written = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for part in ("config.yaml", "results.json", "metrics.csv", "events.out.tfevents", ".wandb", "debug"):
        assert any(part in name for name in written), part
    said = "".join([done.out, done.err, failed.out, failed.err]).encode()
    for secret in SECRETS.values():
        assert secret.encode() not in said
        assert not [name for name, content in written.items() if secret.encode() in content]
