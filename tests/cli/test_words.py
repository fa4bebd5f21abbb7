"""Paths and words on the command line, in runs: every folder works, and what is printed runs as it is pasted."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from discrete_latents.config.printed_command import program
from tests.cli.conftest import ROOT, SMALL, beyond_progress, shell
from tests.helpers.modules import run_module
from tests.helpers.tables import rest_is_slow

QUICK = [*SMALL, "debug=one_batch", "callbacks.pictures.every_n_epochs=0"]

FOLDERS = [
    "a=b,c (1)",
    "it's [csv] {x: 1} a[bold]",
    ' "q" #1\\ ',
    "new\nline é~日",
    "lr=0.1,latent=['rloo',a]",
    "a`b`$c;d|e&f!*?",
]
"""Each a mixture of what Hydra, rich, bash and file systems have a meaning for."""


def pasted(line: str) -> list[str]:
    """The words that bash gives to a command that was printed."""
    done = subprocess.run(
        ["bash", "-c", f"python() {{ printf '%s\\0' \"$@\"; }}; {line}"], capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("name", rest_is_slow(FOLDERS, 2), ids=repr)
def test_a_folder_of_any_name_is_written_resumed_and_evaluated(command, tmp_path, name):
    folder = tmp_path / "logs" / name
    outcome = command("train", *QUICK, f"hydra.run.dir=logs/{name}")
    assert outcome.code == 0, outcome.err
    assert json.loads((folder / "results.json").read_text())["status"] == "completed"
    again = command("train", f"hydra.run.dir=logs/{name}")
    assert again.code == 1
    assert again.err.count("\n") == 1
    (word,) = pasted(f"python {again.err.rstrip().partition('continue it with ')[2]}")
    outcome = command("train", word, "trainer.max_epochs=2")
    assert outcome.code == 0, outcome.err
    assert json.loads((folder / "results.json").read_text())["epochs"] == 2
    for value in (f"logs/{name}", str(folder)):
        outcome = command("eval", f"run={value}")
        assert outcome.code == 0, outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"logs"}
    assert {path.name for path in folder.parent.iterdir()} == {name}


def test_the_folder_that_hydra_names_by_the_overrides_is_resumed(command, tmp_path):
    words = [*QUICK, "optimizer.lr=0.01", "hydra.run.dir=logs/${hydra.job.override_dirname}, ${seed}"]
    assert command("train", *words).code == 0
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("callbacks.pictures.every_n_epochs=0,")
    assert "model.network.hidden=[16]" in folder.name
    assert command("train", f"resume=logs/{folder.name}", "trainer.max_epochs=2").code == 0
    assert json.loads((folder / "results.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("setting", ["paths.output_dir", "paths.data_dir"])
def test_the_other_folders_of_a_run(command, tmp_path, setting):
    name = "a=b,c (1) 'q' [csv]"
    (tmp_path / name / "arrays").mkdir(parents=True)
    outcome = command("train", *QUICK, f"{setting}={name}", *(["data=mnist"] if setting == "paths.data_dir" else []))
    if setting == "paths.output_dir":
        assert outcome.code == 0, outcome.err
        assert (tmp_path / name / "results.json").is_file()
    else:  # where it is looked for
        assert f"{tmp_path}/{name}" in outcome.err or f"is not in {name}/MNIST/raw" in outcome.err


def test_options_and_a_sweep_in_folders_of_any_name(command, tmp_path):
    options = tmp_path / "-op=t, (1)" / "experiment"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    sweep = tmp_path / "s=w,(1) é"
    words = ["-m", "--config-dir", "-op=t, (1)", "experiment=mine", "latent=rloo,disarm"]
    outcome = command("train", *words, *QUICK, "hydra.sweep.dir=s=w,(1) é")
    assert outcome.code == 0, outcome.err
    done, left_out = (json.loads((sweep / number / "results.json").read_text()) for number in "01")
    assert (done["status"], done["seed"]) == ("completed", 7)
    assert left_out["status"] == "not applicable"
    assert "num_classes = 2, got 4" in left_out["error"]
    assert "job 1 (latent=disarm) is not applicable: " in outcome.out
    (sweep / "0" / "results.json").unlink()
    before = (sweep / "1" / "results.json").stat().st_mtime_ns
    outcome = command("train", "sweep.resume=s=w,(1) é")
    assert outcome.code == 0, outcome.err
    assert (sweep / "0" / "results.json").is_file()
    assert (sweep / "1" / "results.json").stat().st_mtime_ns == before


def test_failures_stay_failures_beside_what_is_not_applicable(command, tmp_path):
    words = ["latent=rloo,exact", "model.num_latents=3,20", "seed=0,-1", "hydra.sweep.dir=a b"]
    outcome = command("train", "-m", *QUICK, *words)
    assert outcome.code == 1
    statuses = [json.loads((tmp_path / "a b" / str(n) / "results.json").read_text())["status"] for n in range(8)]
    completed = ["completed", "failed"]
    assert statuses == [*completed, *completed, *completed, "not applicable", "failed"]
    (line,) = [line for line in outcome.out.splitlines() if "to go on: " in line]
    assert line.startswith("4 of 8 jobs are not completed; ")
    assert pasted(line.partition("to go on: ")[2]) == ["train.py", "sweep.resume=a b"]


def test_a_sweep_of_which_nothing_is_applicable_fails(command):
    outcome = command("train", "-m", *QUICK, "latent=disarm", "seed=0,1")
    assert outcome.code == 1
    assert beyond_progress(outcome.err)[-1].startswith(
        "error: no job of the sweep is applicable: CategoricalVAE with DisARM: "
    )


@pytest.mark.parametrize("value", ["[a b,'c']", "'it\\'s $HOME'", '"`x` !1"', "{a: 1}"])
def test_an_override_that_wants_a_plus_is_printed_as_it_is_pasted(command, value):
    outcome = command("train", f"trainer.profiler={value}")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert pasted(f"python {outcome.err.rstrip().partition('with a plus, as ')[2]}") == [f"+trainer.profiler={value}"]


def test_an_installed_command_prints_installed_commands(monkeypatch):
    for started, printed in (("/x/bin/discrete-latents-search", "discrete-latents-train"), ("a/train.py", "python")):
        monkeypatch.setattr(sys, "argv", [started])
        assert program("train")[0] == printed


# Where the command was started


def test_relative_paths_are_those_of_the_start_when_the_job_moves(command, monkeypatch, tmp_path):
    moved = [*QUICK, "hydra.job.chdir=true"]
    outcome = command("train", *moved, "hydra.run.dir=logs/a", "callbacks.checkpoint.dirpath=logs/a/checkpoints")
    assert outcome.code == 0, outcome.err
    assert "\nlogs/a/results.json\n" in outcome.out
    outcome = command("train", "resume=logs/a", "trainer.max_epochs=2", "hydra.job.chdir=true")
    assert outcome.code == 0, outcome.err
    outcome = command("eval", "run=logs/a", "hydra.job.chdir=true")
    assert outcome.code == 0, outcome.err
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])
    for word, variable in (("paths.data_dir=data", None), ("seed=0", "data")):
        if variable:
            monkeypatch.setenv("DISCRETE_LATENTS_DATA", variable)
        outcome = command("train", *moved, "data=mnist", word)
        assert f"MNIST is not in {tmp_path}/data/MNIST/raw" in outcome.err
    assert {path.name for path in tmp_path.iterdir()} <= {"logs", "data"}


# Words that Hydra itself names


@pytest.mark.parametrize("group", ["job_logging", "hydra_logging"])
@pytest.mark.parametrize("option", rest_is_slow(["disabled", "none", "default", "colorlog"], 1))
def test_logging_of_any_kind(command, group, option):
    if option == "colorlog":
        pytest.importorskip("hydra_colorlog")
    outcome = command("train", *QUICK, f"hydra/{group}={option}")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "trainer.check_val_every_n_epoch=null",
            "trainer.val_check_interval must be a whole number of at least 1, got None",
        ),
        ("trainer.check_val_every_n_epoch=null +trainer.val_check_interval=0.5", "got 0.5"),
        ("trainer.check_val_every_n_epoch=null +trainer.val_check_interval=true", "got True"),
        ("trainer.check_val_every_n_epoch=null +trainer.val_check_interval=0", "got 0"),
        ("trainer.fast_dev_run=true", "add it with a plus, as +trainer.fast_dev_run=true"),
        ("trainer.plugins=[a,b]", "add it with a plus, as '+trainer.plugins=[a,b]'"),
        ("trainer.fast_dev=true", "trainer.fast_dev is not a setting"),
        ("+trainer.reload_dataloaders_every_n_epochs=1", "trainer.reload_dataloaders_every_n_epochs must be"),
        ("+trainer.sync_batchnorm=true", "trainer.sync_batchnorm must be"),
        ("+lr=3", "+lr adds a setting that nothing reads: did you mean optimizer.lr?"),
        ("++lr=3", "+lr adds a setting that nothing reads"),
        ("+paths.data=x", "+paths.data adds a setting that nothing reads: did you mean data or paths.data_dir"),
        ("+sweep.foo=1", "+sweep.foo adds a setting that nothing reads"),
        ("+model.foo=1", "foo"),
        ("+callbacks.mine=3", "callbacks.mine must be a Callback"),
        ("+data.source.foo=1", "foo"),
        ("resume=no\nwhere", "error: no\\nwhere is not the directory of a run"),
    ],
)
def test_what_is_wrong_is_one_line(command, words, said):
    outcome = command("train", *QUICK, *(words.split(" ") if "resume" not in words else [words]))
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert said in outcome.err


def test_validation_by_batches_over_epochs(command, tmp_path):
    words = ["trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=20", "trainer.max_epochs=4"]
    outcome = command("train", *SMALL, "callbacks.pictures.every_n_epochs=0", *words, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    place = header.split(",").index("val/nelbo")
    steps = [int(row.split(",")[header.split(",").index("step")]) for row in rows if row.split(",")[place]]
    assert [step - steps[0] for step in steps] == [0, 20]


@pytest.mark.parametrize(
    "word",
    rest_is_slow(
        [
            *("+trainer.fast_dev_run=true", "+trainer.fast_dev_run=2", "+trainer.min_epochs=1", "+trainer.min_steps=1"),
            *("+trainer.max_time=00:01:00:00", "+trainer.deterministic=true"),
            *(
                "+trainer.benchmark=false",
                "+trainer.inference_mode=false",
                "+trainer.gradient_clip_algorithm=value trainer.gradient_clip_val=1.0",
            ),
            *("+trainer.profiler=simple",),
            *("+trainer.accumulate_grad_batches=1", "+trainer.enable_progress_bar=true", "+trainer.num_nodes=1"),
            *(
                "+width=16 model.network.hidden=[${width}]",
                "+name.of.mine=16 model.network.hidden=[${name.of.mine}]",
                "++seed=3",
            ),
        ]
    ),
)
def test_what_a_plus_adds_works(command, word):
    outcome = command("train", *QUICK, *word.split())
    assert outcome.code == 0, outcome.err


# What a terminal is


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["PROGRAM | head -2", "PROGRAM 2>&1 | head -1", "PROGRAM > /dev/full", "PROGRAM >&- 2>&-"]
)
def test_no_terminal_makes_a_sweep_fail(how, tmp_path):
    words = [sys.executable, str(ROOT / "train.py"), "-m", *QUICK, "seed=0,1", "hydra.sweep.dir=[csv] é·"]
    line = f"set -o pipefail; {how.replace('PROGRAM', f'PYTHONIOENCODING=ascii {shlex.join(words)}')}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0
    for number in "01":
        results = json.loads((tmp_path / "[csv] é·" / number / "results.json").read_text())
        assert results["status"] == "completed"


@pytest.mark.slow
def test_a_search_in_a_folder_of_any_name_while_jobs_move(tmp_path):
    name = "s=e,a (1) é'[csv]?#%"
    words = [*SMALL, "trainer.max_epochs=1", "search.trials=1", "hydra.job.chdir=true", f"search.dir={name}"]
    outcome = run_module("discrete_latents.search", *words, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert {path.name for path in tmp_path.iterdir()} == {name}
    printed = [line.partition("python ")[2] for line in outcome.stdout.splitlines() if "python " in line]
    again, tested = (pasted(f"python {line}") for line in printed)
    assert again[:4] == ["train.py", "--config-dir", name, "experiment=best"]
    outcome = shell("eval.py", *tested[1:], "eval_samples=5", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    outcome = shell("train.py", *again[1:], *QUICK, "hydra.run.dir=best", cwd=tmp_path)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_help_ends_quietly_where_nobody_reads_it(tmp_path):
    line = f"set -o pipefail; {sys.executable} {ROOT}/train.py --help | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_two_processes_write_into_a_folder_of_any_name(tmp_path):
    name = 'a "b" it\'s é\\'
    outcome = shell("train.py", *QUICK, "trainer=ddp_sim", f"hydra.run.dir={name}", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert Path(tmp_path, name, "results.json").is_file()


@pytest.mark.parametrize("name", ["train", "eval"])
def test_help_is_printed(command, name):
    outcome = command(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"python {name}.py" in outcome.out
