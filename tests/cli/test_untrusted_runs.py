"""Runs and sweeps of somebody else: what their files name is not called or obeyed, and they take no long time."""

import shutil
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import yaml
from omegaconf import OmegaConf

from discrete_latents import load_run
from discrete_latents.errors import UserError
from discrete_latents.summary.command import summarize_main
from tests.cli.conftest import SMALL, snapshot
from tests.helpers.hostile import GROUPS, TARGETS

COMMANDS = {"resume": ["train", "resume={run}", "trainer.max_epochs=3"], "eval": ["eval", "run={run}"]}
READERS = ("load_run", *COMMANDS)
each_reader = pytest.mark.parametrize("reader", READERS)


@pytest.fixture
def theirs(finished, tmp_path) -> Path:
    return shutil.copytree(finished.folder, tmp_path / "theirs")


def edit(run: Path, place: str, node: Any, file: str = "config.yaml") -> None:
    """Sets something in a run's saved configuration."""
    path = run / ".hydra" / file
    settings = yaml.safe_load(path.read_text())
    *parents, last = place.split(".")
    inner = settings
    for name in parents:
        inner = inner.setdefault(name, {})
    inner[last] = node
    path.write_text(yaml.safe_dump(settings))


def refused(command, reader: str, run: Path, *words: str) -> str:
    """Gives a run to a reader: the one line by which it is refused, with nothing of the run changed."""
    before = snapshot(run)
    if reader == "load_run":
        with pytest.raises(UserError) as caught:
            load_run(run)
        line = f"{caught.value}\n"
    else:
        outcome = command(*(word.format(run=run) for word in COMMANDS[reader]), *words)
        assert (outcome.code, outcome.out) == (1, "")
        line = outcome.err
    assert line.count("\n") == 1, line
    assert snapshot(run) == before
    return line


def touching(mark: Path, shape: str) -> Any:
    """A node that makes a file where it is built."""
    for_shell = f"touch '{mark}'"
    return {
        "plain": {"_target_": "os.system", "command": for_shell},
        "open": {"_target_": "builtins.open", "file": str(mark), "mode": "w"},
        "nested": {"of": [{"_target_": "subprocess.run", "args": ["touch", str(mark)]}]},
        "args": {"_target_": "discrete_latents.likelihoods.Gaussian", "_args_": [{"_target_": "pathlib.Path.touch"}]},
        "partial": {"_target_": "os.system", "_partial_": True, "command": for_shell},
        "interpolation": {"_target_": "${evil.name}", "command": for_shell},
        "through us": {"_target_": "discrete_latents.process.os.system", "command": for_shell},
        "from the environment": {"_target_": "${oc.env:WHAT}", "command": for_shell},
    }[shape]


@pytest.mark.parametrize("place", GROUPS)
@pytest.mark.parametrize(
    "shape", ["plain", "open", "nested", "args", "partial", "interpolation", "through us", "from the environment"]
)
@each_reader
def test_what_a_configuration_names_is_not_called(command, theirs, tmp_path, monkeypatch, reader, shape, place):
    mark = tmp_path / "was called"
    monkeypatch.setenv("WHAT", "os.system")
    edit(theirs, "evil", {"name": "os.system"})
    edit(theirs, place, touching(mark, shape))
    assert place in refused(command, reader, theirs)
    assert not mark.exists()


@each_reader
def test_no_target_of_the_table_is_called(command, theirs, reader):
    config = theirs / ".hydra" / "config.yaml"
    good = config.read_text()
    for number, target in enumerate(TARGETS[::12]):
        place = GROUPS[number % 3]
        config.write_text(good)
        edit(theirs, place, {"_target_": target, "f": "x"})
        assert f"{place}._target_" in refused(command, reader, theirs)


@each_reader
@pytest.mark.parametrize("name", ["hydra", "defaults"])
def test_a_configuration_does_not_change_hydra(command, theirs, reader, name):
    edit(theirs, name, {"job": {"env_set": {"PATH": "/evil"}}} if name == "hydra" else [{"/hydra/launcher": "joblib"}])
    assert f"{name} is refused" in refused(command, reader, theirs)


@each_reader
def test_a_run_resolves_nothing_of_the_environment(command, theirs, monkeypatch, reader):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    edit(theirs, "data.name", "${oc.env:WANDB_API_KEY}")
    line = refused(command, reader, theirs)
    assert "data.name = ${oc.env:WANDB_API_KEY} is refused" in line
    assert "0123456789abcdef" not in line


def test_nothing_else_in_a_folder_is_obeyed(command, theirs, tmp_path):
    """Hydra's saved settings, a header of the configuration, and options of groups beside it."""
    mark = tmp_path / "was called"
    evil = {"version": 1, "formatters": {"x": {"()": "os.system", "command": f"touch '{mark}'"}}}
    edit(theirs, "hydra.job.env_set", {"PATH": "/evil"}, "hydra.yaml")
    edit(theirs, "hydra.job_logging", evil, "hydra.yaml")
    edit(theirs, "hydra.callbacks", {"x": {"_target_": "os.system", "command": f"touch '{mark}'"}}, "hydra.yaml")
    options = theirs / ".hydra" / "hydra" / "job_logging"
    options.mkdir(parents=True)
    (options / "none.yaml").write_text(yaml.safe_dump(evil))
    config = theirs / ".hydra" / "config.yaml"
    config.write_text(f"# @package hydra.job.env_set\n{config.read_text()}")
    outcome = command("eval", f"run={theirs}")
    assert outcome.code == 0, outcome.err
    assert not mark.exists()


def test_a_choice_resolves_nothing(command, theirs, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    edit(theirs, "hydra.runtime.choices.experiment", "${oc.env:WANDB_API_KEY}", "hydra.yaml")
    assert "hydra.yaml" in refused(command, "eval", theirs)


class Mine(pl.Callback):
    """A callback of the user's own."""

    built = 0

    def __init__(self) -> None:
        type(self).built += 1


def test_a_users_own_class_needs_the_users_word(command, theirs):
    edit(theirs, "callbacks.mine", {"_target_": f"{__name__}.Mine"})
    edit(theirs, "trust", ["tests"])
    for reader in READERS:
        assert f"callbacks.mine._target_ = {__name__}.Mine is refused" in refused(command, reader, theirs)
    assert "trust must name packages of your own, got os" in refused(command, "eval", theirs, "trust=[os]")
    assert Mine.built == 0
    assert load_run(theirs, trust=("tests",)).model.num_latents == 3
    outcome = command("eval", f"run={theirs}", "trust=[tests]")
    assert outcome.code == 0, outcome.err
    assert Mine.built == 1
    edit(theirs, "callbacks.mine", {"_target_": "no.longer.There"})
    outcome = command("eval", f"run={theirs}", f"callbacks.mine._target_={__name__}.Mine")  # free
    assert outcome.code == 0, outcome.err
    assert Mine.built == 2


# Sweeps


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two jobs, of which none has been started, as its multirun.yaml has it."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    folder.mkdir()
    hydra = {
        "overrides": {"hydra": ["hydra.mode=MULTIRUN"], "task": [*SMALL, "seed=0,1"]},
        "job": {"config_name": "train"},
        "runtime": {"config_sources": [], "choices": {}},
    }
    (folder / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    return folder


OVERRIDES = {
    "a setting": "model.likelihood._target_=os.system",
    "a mapping": "+callbacks.x={_target_: os.system, command: touch mark}",
    "one of several": "model.likelihood._target_=discrete_latents.likelihoods.Bernoulli,os.system",
    "a reference": "data.name=${oc.env:HOME}",
    "a variable": "+hydra.job.env_set.PATH=/evil",
    "a search path": "hydra.searchpath=[pkg://antigravity]",
    "a logger": "hydra.job_logging.formatters.simple={(): os.system}",
    "a callback": "+hydra.callbacks.x._target_=os.system",
    "a launcher": "hydra.launcher._target_=os.system",
    "a shell command": "hydra.launcher.setup=[touch mark]",
    "a flag of sbatch": 'hydra.launcher.partition="a\\ntouch mark"',
    "an option elsewhere": "experiment=../../evil",
    "too many jobs": "seed=range(1000000000)",
}


@pytest.mark.parametrize("what", OVERRIDES)
def test_a_sweep_runs_no_code(command, sweep, tmp_path, what):
    folder = shutil.copytree(sweep, tmp_path / "theirs")
    saved = yaml.safe_load((folder / "multirun.yaml").read_text())
    override = OVERRIDES[what]
    hydra = override.lstrip("+").startswith("hydra")
    saved["hydra"]["overrides"]["hydra" if hydra else "task"].append(override)
    (folder / "multirun.yaml").write_text(yaml.safe_dump(saved))
    before = snapshot(folder)
    outcome = command("train", f"sweep.resume={folder}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert snapshot(folder) == before
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("trap", ["train.yaml", "hydra/job_logging/messages.yaml", "latent/x.yaml"])
def test_the_options_of_a_sweep_change_nothing_of_hydra(command, sweep, tmp_path, trap):
    folder, options = shutil.copytree(sweep, tmp_path / "theirs"), tmp_path / "options"
    (options / trap).parent.mkdir(parents=True)
    (options / trap).write_text("# @package _global_\nhydra:\n  job:\n    env_set:\n      PATH: /evil\n")
    saved = yaml.safe_load((folder / "multirun.yaml").read_text())
    saved["hydra"]["overrides"]["task"].append("latent=x")
    saved["hydra"]["runtime"]["config_sources"] = [{"provider": "command-line", "path": str(options)}]
    (folder / "multirun.yaml").write_text(yaml.safe_dump(saved))
    outcome = command("train", f"sweep.resume={folder}")
    assert (outcome.code, outcome.out) == (1, "")
    assert "is refused" in outcome.err
    assert outcome.err.count("\n") == 1


# What takes long

LAUGHS = "\n".join(
    [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" if n else f"a0: &a0 [{', '.join(['lol'] * 9)}]" for n in range(8)]
)
BOMBS = {
    "aliases": f"{LAUGHS}\nmodel: *a7\nhydra: *a7\n",
    "merged": "a: &a {x: 1}\nmodel: {<<: *a}\nhydra: {<<: *a}\n",
    "large": f"model: {{x: {'y' * 10_000_000}}}\n",
    "many": f"model: [{'1,' * 90_000}1]\n",
    "many lines": "- a\n" * 40_000,
    "deep": f"model: {'[' * 90_000}",
    "deep keys": "? " * 50_000 + "a: 1",
    "deep and closed": f"model: {'{a: ' * 2_000}1{'}' * 2_000}\n",
    "references": f"model: {'${a' * 900}{'}' * 900}\n",
    "many references": "".join(f"x{n}: ${{a.${{b}}}} ${{a.${{b}}}} ${{a.${{b}}}}\n" for n in range(900)),
    "a long number": f"model: {'9' * 50_000}\n",
    "a tag": "model: !!python/object/apply:os.system [ls]\n",
    "many documents": "--- a\n" * 10_000,
    "binary": "model: \x00\x01",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_saved_file_takes_no_time(theirs, bomb):
    from discrete_latents.runs.directory import RunDirectory, SweepDirectory

    run, sweep = RunDirectory(theirs), SweepDirectory(theirs)
    for path, read in (
        (run.config, run.read_config),
        (run.hydra_config, run.read_hydra),
        (sweep.multirun, sweep.read_hydra),
    ):
        path.write_text(BOMBS[bomb])
        started = time.perf_counter()
        with pytest.raises(UserError, match=path.name) as caught:
            read()
        assert time.perf_counter() - started < 2
        assert len(str(caught.value)) < 1_000


def test_a_bomb_blocks_no_command_and_no_report(command, theirs, finished, tmp_path, monkeypatch, capfd):
    good = shutil.copytree(finished.folder, tmp_path / "good")
    (theirs / ".hydra" / "config.yaml").write_text(BOMBS["aliases"])
    for reader in READERS:
        assert "it has aliases" in refused(command, reader, theirs)
    monkeypatch.setattr("sys.argv", ["summarize", str(tmp_path)])
    summarize_main()
    assert "it has aliases" in capfd.readouterr().out
    assert str(good.name) in (tmp_path / "summary.html").read_text()


def test_a_configuration_that_is_saved_has_no_aliases(finished):
    shared = ["x"]
    text = OmegaConf.to_yaml(OmegaConf.create({"a": shared, "b": shared, "c": {"d": shared}}))
    assert "&" not in text
    for path in (finished.folder / ".hydra").iterdir():
        assert not [event for event in yaml.parse(path.read_text()) if getattr(event, "anchor", None)]
