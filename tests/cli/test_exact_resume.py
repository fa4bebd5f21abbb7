"""A run that is killed and resumed has the bits of one that was not, whatever limits or divides its training.

Each command is a process forked from this one, which has imported everything; it is killed within a hook.
"""

import csv
import os
import shutil
import sys
import traceback
import warnings
from pathlib import Path

import jaxtyping
import lightning.pytorch as pl
import pytest
import torch

from discrete_latents import cli, load_run
from discrete_latents.runs.directory import RunDirectory
from scripts.soak import differences
from scripts.soak.comparison import same
from tests.cli.conftest import SMALL, shell, weights
from tests.cli.test_resume import results
from tests.helpers.tables import rest_is_slow
from tests.helpers.witness import TESTS

KILLED = 99
TRUST = "trust=[tests]"
EARLY = [
    "+callbacks.early._target_=lightning.pytorch.callbacks.EarlyStopping",
    "+callbacks.early.monitor=val/nelbo",
    "+callbacks.early.min_delta=1000",  # as if nothing improved
    "+callbacks.early.patience=2",
    "trainer.max_epochs=8",
]
TOGETHER = "+trainer.accumulate_grad_batches"
WITHIN = "+trainer.val_check_interval"
OFTEN = "callbacks.checkpoint.every_n_steps=1"

CASES = {
    "steps": ["trainer.max_steps=9", WITHIN + "=3"],
    "steps up to a validation": ["trainer.max_steps=10", WITHIN + "=3"],
    "accumulated": [TOGETHER + "=3", OFTEN, WITHIN + "=2"],
    "double": ["trainer.precision=64-true"],
    "early": [*EARLY, WITHIN + "=3"],
    "steps and epochs": ["trainer.max_steps=14", OFTEN],
    "steps accumulated": ["trainer.max_steps=5", TOGETHER + "=2"],
    "accumulated over an epoch": [TOGETHER + "=4"],
    "bfloat16": ["trainer.precision=bf16-true"],
    "mixed": ["trainer.precision=bf16-mixed", OFTEN],
    "early after epochs": EARLY,
    "early, with a least number of epochs": [*EARLY, "+trainer.min_epochs=5"],
    "Lightning's loop": ["trainer.max_steps=9", "steps_per_loop=1", OFTEN],
}
"""Settings by what they are about."""

BRIEF = ("steps", "accumulated")
MOMENTS = {
    "within an epoch": ("on_before_optimizer_step", 9),
    "at validation": ("on_validation_end", -1),
    "between epochs": ("on_train_epoch_start", -1),
    "at the end of an epoch": ("on_train_epoch_end", -1),
    "after training": ("on_train_end", -1),
    "after the test": ("on_test_end", -1),
}
"""A hook and which of its calls."""


class Kill(pl.Callback):
    """Writes down every call of a hook, and ends the process, as a kill would, within one of them."""

    def __init__(self, hook: str = "", call: int = -1, counts: str = "") -> None:
        self.calls = dict.fromkeys((hook for hook, _ in MOMENTS.values()), 0)
        for name in self.calls:

            def note(*_: object, name: str = name) -> None:
                self.calls[name] += 1
                if name == hook and self.calls[name] == call:
                    os._exit(KILLED)
                if counts:
                    (Path(counts) / name).write_text(str(self.calls[name]))

            setattr(self, name, note)


def train(*words: object, log: Path) -> int:
    """The exit code of train.py in a process of its own."""
    pid = os.fork()
    if pid == 0:
        file = log.open("a")
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        sys.argv = ["train.py", *map(str, words)]
        jaxtyping.config.update("jaxtyping_disable", True)
        warnings.resetwarnings()
        code = 70
        try:
            cli.train_main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killing(hook: str, call: int) -> list[str]:
    target = f"+callbacks.kill._target_={__name__}.Kill"
    return [target, f"+callbacks.kill.hook={hook}", f"+callbacks.kill.call={call}"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The words of a case, and a run of them that was not killed; how often its hooks were called."""
    made: dict[str, tuple[list[str], Path, dict[str, int]]] = {}

    def run(case: str) -> tuple[list[str], Path, dict[str, int]]:
        if case not in made:
            folder = tmp_path_factory.mktemp("straight")
            words = [*SMALL, "trainer.max_epochs=3", "data.batch_size=200", "trainer.log_every_n_steps=2", *CASES[case]]
            (folder / "calls").mkdir()
            counting = [f"+callbacks.kill._target_={__name__}.Kill", f"+callbacks.kill.counts={folder}/calls"]
            assert train(*words, *counting, f"hydra.run.dir={folder}/run", log=folder / "log") == 0
            calls = {path.name: int(path.read_text()) for path in (folder / "calls").iterdir()}
            made[case] = words, folder / "run", calls
        return made[case]

    return run


def cases() -> list[object]:
    """Each case with each moment. Some of both in the brief tests."""
    brief = ("within an epoch", "at the end of an epoch")
    every = [(case, moment) for case in CASES for moment in MOMENTS]
    slow = [pytest.mark.slow]
    return [pytest.param(*pair, marks=slow * (pair[0] not in BRIEF or pair[1] not in brief)) for pair in every]


@pytest.mark.parametrize(("case", "moment"), cases())
def test_a_killed_run_ends_as_one_that_was_not(straight, tmp_path, case, moment):
    words, expected, calls = straight(case)
    hook, call = MOMENTS[moment]
    call = calls[hook] if call < 0 else min(call, calls[hook])
    run, log = tmp_path / "run", tmp_path / "log"
    assert train(*words, *killing(hook, call), f"hydra.run.dir={run}", log=log) == KILLED, log.read_text()
    last = RunDirectory(run).last
    before = torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0
    assert train(f"resume={run}", TRUST, "callbacks.kill.hook=''", log=log) == 0, log.read_text()
    assert differences(RunDirectory(expected), RunDirectory(run)) == [], (hook, call, before)


def test_double_precision_is_kept_by_whoever_loads_it(straight, tmp_path):
    _, run, _ = straight("double")
    saved = weights(run / "checkpoints" / "best.ckpt")
    assert saved["mean_image"].dtype == torch.float64
    loaded = load_run(run, trust=["tests"])
    assert all(torch.equal(value, saved[name]) for name, value in loaded.model.state_dict().items())
    images = torch.rand(3, 1, 8, 8)
    codes = loaded.encode(images)
    assert loaded.decode(codes).dtype == torch.float64
    assert loaded.sample(2).shape == (2, 1, 8, 8)


def test_an_evaluation_in_double_precision_is_the_test(command, straight):
    _, run, _ = straight("double")
    assert command("eval", f"run={run}", TRUST).code == 0
    (evaluation,) = (run / "evaluations").iterdir()
    assert results(evaluation)["metrics"] == results(run)["metrics"]


@pytest.mark.parametrize("further", [[], ["trainer.max_epochs=20"]], ids=["as it was", "more epochs"])
def test_a_run_that_was_stopped_early_stays_stopped_and_says_so(straight, tmp_path, further):
    _, expected, _ = straight("early")
    run, log = shutil.copytree(expected, tmp_path / "run"), tmp_path / "log"
    assert train(f"resume={run}", TRUST, *further, log=log) == 0
    assert differences(RunDirectory(expected), RunDirectory(run)) == []
    assert "EarlyStopping by val/nelbo ended training in epoch" in log.read_text()


def test_a_larger_patience_trains_on_as_if_it_had_been_so_before(straight, tmp_path):
    words, former, _ = straight("early")
    run, log = shutil.copytree(former, tmp_path / "run"), tmp_path / "log"
    patience = "callbacks.early.patience=4"
    assert train(f"resume={run}", TRUST, patience, log=log) == 0, log.read_text()
    assert train(*words, patience, f"hydra.run.dir={tmp_path}/patient", log=log) == 0, log.read_text()
    assert results(run)["steps"] == results(tmp_path / "patient")["steps"] > results(former)["steps"]
    found = differences(RunDirectory(tmp_path / "patient"), RunDirectory(run))
    assert found == ["metrics.csv: 0 rows missing, 1 more"]  # the test of the former end


def test_other_threads_are_named(straight, tmp_path):
    _, expected, _ = straight("steps")
    run, log = shutil.copytree(expected, tmp_path / "run"), tmp_path / "log"
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    assert content["threads"] == torch.get_num_threads()
    assert train(f"resume={run}", TRUST, log=log) == 0
    assert "was trained with" not in log.read_text()
    content["threads"] = 77
    torch.save(content, last)
    assert train(f"resume={run}", TRUST, log=log) == 0
    assert "was trained with 77" in log.read_text()


@pytest.mark.parametrize("left", [0, 3])
def test_rows_that_are_missing_are_named(straight, tmp_path, left):
    _, expected, _ = straight("steps")
    run, log = shutil.copytree(expected, tmp_path / "run"), tmp_path / "log"
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(lines[: left + 1]))
    rows = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["metrics_rows"]
    assert train(f"resume={run}", TRUST, log=log) == 0
    said = f"metrics.csv has {left} rows, of the {rows} that stood there when the checkpoint was written"
    assert said in log.read_text()


@pytest.mark.slow
def test_a_run_that_max_time_stopped_goes_on_from_there(tmp_path):
    """Whenever that was: within an epoch, mostly."""
    run, log = tmp_path / "run", tmp_path / "log"
    words = [*SMALL, "trainer.max_epochs=100000", "eval_samples=5"]
    assert train(*words, "+trainer.max_time={seconds: 1}", f"hydra.run.dir={run}", log=log) == 0, log.read_text()
    first = results(run)
    assert train(f"resume={run}", TRUST, log=log) == 0, log.read_text()
    assert results(run)["steps"] == first["steps"]
    epochs = f"trainer.max_epochs={first['epochs'] + 1}"
    assert train(f"resume={run}", TRUST, "trainer.max_time=null", epochs, log=log) == 0, log.read_text()
    assert train(*words, epochs, f"hydra.run.dir={tmp_path}/straight", log=log) == 0, log.read_text()
    last = RunDirectory(run).last, RunDirectory(tmp_path / "straight").last
    one, other = (torch.load(path, weights_only=True) for path in last)
    assert one["global_step"] == other["global_step"] == 13 * (first["epochs"] + 1)
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


class Stop(pl.Callback):
    """Stops training after a step as max_time does: within an epoch, after a validation, and again on resume.

    late: after the other callbacks' part of the step.
    """

    def __init__(self, step: int, late: bool = False) -> None:
        self.step, self.reached, self.late = step, 0, late

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.late and trainer.callbacks[-1] is not self:  # type: ignore[attr-defined]
            trainer.callbacks.append(trainer.callbacks.pop(trainer.callbacks.index(self)))  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop = self.reached >= self.step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.reached = trainer.global_step
        trainer.should_stop |= self.reached >= self.step

    def state_dict(self) -> dict[str, int]:
        return {"reached": self.reached}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.reached = state_dict["reached"]


STOP = f"+callbacks.stop._target_={__name__}.Stop"
ENDS = ["trainer.max_epochs=3"]
CUT = {
    "a limit of steps": ([*ENDS, "trainer.max_steps=10"], ["trainer.max_steps=-1"], 10),
    "time": ([*ENDS, STOP, "+callbacks.stop.step=10"], ["callbacks.stop.step=1000"], 10),
    "time, while gradients are kept": (
        [*ENDS, STOP, "+callbacks.stop.step=5", TOGETHER + "=3"],
        ["callbacks.stop.step=1000"],
        5,
    ),
    "time, and a limit of batches": (
        [*ENDS, STOP, "+callbacks.stop.step=8", "+trainer.limit_train_batches=5"],
        ["callbacks.stop.step=1000"],
        8,
    ),
    "a callback behind all others": (
        [*ENDS, STOP, "+callbacks.stop.step=10", "+callbacks.stop.late=true", "trainer.check_val_every_n_epoch=5"],
        ["callbacks.stop.step=1000"],
        10,
    ),
    "time in Lightning's loop": (
        [*ENDS, STOP, "+callbacks.stop.step=10", "steps_per_loop=1"],
        ["callbacks.stop.step=1000"],
        10,
    ),
    "early stopping": ([*EARLY, *ENDS, WITHIN + "=3"], ["callbacks.early.patience=100"], 10),
    "a limit of steps, while gradients are kept": (
        [*ENDS, "trainer.max_steps=5", TOGETHER + "=2"],
        ["trainer.max_steps=-1"],
        5,
    ),
}
"""Settings of a run that stops within an epoch, the changes with which it goes on, and the step that it stops at."""


@pytest.mark.parametrize("case", rest_is_slow(list(CUT), 1))
def test_a_run_that_was_stopped_within_an_epoch_and_resumed_twice_goes_on_from_there(tmp_path, case):
    words, further, step = CUT[case]
    words = [*SMALL, "data.batch_size=200", "trainer.log_every_n_steps=2", *words]
    run, expected, log = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "straight"), tmp_path / "log"
    assert train(*words, f"hydra.run.dir={run}", log=log) == 0, log.read_text()
    for _ in range(2):
        saved = torch.load(run.last, weights_only=True)
        assert (saved["global_step"], run.read_results()["steps"]) == (step, step)
        assert train(f"resume={run}", TRUST, log=log) == 0, log.read_text()
    assert train(f"resume={run}", TRUST, *further, log=log) == 0, log.read_text()
    assert train(*words, *further, f"hydra.run.dir={expected}", log=log) == 0, log.read_text()
    one, other = (torch.load(each.last, weights_only=True) for each in (expected, run))
    assert other["global_step"] > step
    for key in ("epoch", "global_step", "state_dict", "optimizer_states", "noise"):
        assert same(one[key], other[key]), key
    of_training = []
    for each in (expected, run):
        with each.metrics.open(newline="") as file:
            of_training.append([(row["step"], row["train/relaxed_nelbo"]) for row in csv.DictReader(file)])
    assert [row for row in of_training[0] if row[1]] == [row for row in of_training[1] if row[1]]


@pytest.mark.slow
def test_two_processes_killed_and_resumed_have_the_bits_of_two_that_were_not(tmp_path):
    words = [*SMALL, "trainer=ddp_sim", "trainer.log_every_n_steps=3", "callbacks.checkpoint.every_n_steps=2"]
    done = shell("train.py", *words, "hydra.run.dir=straight", cwd=tmp_path, **TESTS)
    assert done.code == 0, done.err
    killed = [*killing("on_before_optimizer_step", 11), "hydra.run.dir=killed"]
    assert shell("train.py", *words, *killed, cwd=tmp_path, **TESTS).code != 0
    assert torch.load(tmp_path / "killed" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 10
    done = shell("train.py", "resume=killed", TRUST, "callbacks.kill.hook=''", cwd=tmp_path, **TESTS)
    assert done.code == 0, done.err
    straight, resumed = RunDirectory(tmp_path / "straight"), RunDirectory(tmp_path / "killed")
    assert differences(straight, resumed) == []
    (one,), (other,) = (torch.load(run.last, weights_only=True)["other_processes"] for run in (straight, resumed))
    assert torch.equal(one["noise"], other["noise"])
    with resumed.metrics.open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 4
