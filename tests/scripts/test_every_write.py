"""What a run leaves when it is stopped at each of its writes; in full: `python -m scripts.soak --every-write`."""

import os
import signal
from pathlib import Path

import pytest

from scripts.soak import every_write
from scripts.soak.every_write import EveryWrite, EveryWriteOfAnEvaluation, moments, watch
from tests.cli.conftest import SMALL
from tests.cli.test_interruptions import MODELS


def write_some(folder: Path) -> None:
    folder.mkdir()
    with (folder / "rows").open("a") as file:
        file.write("a row of more than ten bytes\n")
    with (folder / "rows").open("a") as file:
        file.write("and another row\n")
    for text in ("first", "second"):
        (folder / "part").write_text(text)
        os.replace(folder / "part", folder / "whole")
    (folder / "rows").unlink()


def stopped(folder: Path, **how: object) -> tuple[int, dict[str, str]]:
    """The exit code, or the signal as a negative number, of a process that writes some files, and what it leaves."""
    child = os.fork()
    if not child:
        code = 1
        try:
            watch(str(folder), **how)  # type: ignore[arg-type]
            write_some(folder)
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, {path.name: path.read_text() for path in folder.glob("*")}


def test_each_write_is_counted_once_in_its_order(tmp_path):
    record = tmp_path / "record"
    assert stopped(tmp_path / "x", record=str(record)) == (0, {"whole": "second"})
    assert record.read_text().splitlines() == [
        "os.mkdir .",
        *("open rows", "open rows"),
        *("open part", "os.rename part", "open part", "os.rename part"),
        "os.remove rows",
    ]


@pytest.mark.parametrize(
    ("at", "moment", "left"),
    [
        (1, "before", {}),
        (2, "before", {}),
        (2, "empty", {"rows": ""}),
        (2, "torn", {"rows": "a row of m"}),
        (2, "full", {"rows": "a row of m"}),
        (3, "before", {"rows": "a row of more than ten bytes\n"}),
        (3, "torn", {"rows": "a row of more than ten bytes\nand anothe"}),
        (7, "before", {"rows": "a row of more than ten bytes\nand another row\n", "whole": "first", "part": "second"}),
        (8, "before", {"rows": "a row of more than ten bytes\nand another row\n", "whole": "second"}),
    ],
)
def test_a_process_is_stopped_at_the_write_and_leaves_what_was_written(tmp_path, at, moment, left):
    code, files = stopped(tmp_path / "x", at=at, moment=moment)
    assert code == {"before": -signal.SIGKILL, "full": 1}.get(moment, -signal.SIGXFSZ)
    assert files == left


SHORT = ["lr_schedule.hold=1.0", "trainer.max_epochs=2", "eval_samples=5", "callbacks.pictures.every_n_epochs=0"]
CASES = {
    "sbn_digits": (["experiment=sbn_digits", *MODELS["sbn_digits"], *SHORT], 24),
    "checkpoints by their names": ([*SMALL, *SHORT, "callbacks.checkpoint.filename='at-{step}'"], 28),
    "tensorboard": ([*SMALL, *SHORT, "logger=[csv,tensorboard]"], 40),
    "wandb": ([*SMALL, *SHORT, "logger=[csv,wandb]", "logger.wandb.offline=true"], 60),
    "a sweep": (["hydra.mode=MULTIRUN", "seed=0,1", *SMALL, *SHORT], 50),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_stopped_at_a_write_ends_as_one_that_was_not(tmp_path, monkeypatch, case):
    overrides, step = CASES[case]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert differing(EveryWrite(tmp_path, overrides), step) == {}


@pytest.mark.slow
def test_an_evaluation_stopped_at_a_write_changes_no_run_and_the_next_measures_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert differing(EveryWriteOfAnEvaluation(tmp_path, [*SMALL, *SHORT]), 8) == {}


def differing(soak: EveryWrite, step: int) -> dict[tuple[int, str], list[str]]:
    """What differs after every so many of the stops, by stop."""
    operations = soak.operations()
    stops = [(number, moment) for number, name in enumerate(operations, 1) for moment in moments(name)]
    assert len(stops) > 2 * step
    found = {stop: soak.found(*stop) for stop in stops[step // 2 :: step]}
    return {stop: said for stop, said in found.items() if said}


@pytest.mark.slow
def test_a_difference_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    soak = EveryWrite(tmp_path, [*SMALL, *SHORT])
    soak.operations()
    monkeypatch.setattr(every_write.EveryWrite, "next", lambda self, folder: [*self.first(folder), "seed=1"])
    assert soak.found(3, "before") != []
