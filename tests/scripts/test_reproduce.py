"""Papers' tables: what they ask for exists, what is chosen is best on validation, what is written is what was run."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import compose
from omegaconf import OmegaConf

from discrete_latents.config.compose import configurations
from discrete_latents.errors import UserError
from discrete_latents.runs.metrics import unit
from scripts.common.training_run import completed_run
from scripts.reproduce import reproduction
from scripts.reproduce import table as tables
from scripts.reproduce.__main__ import main
from scripts.reproduce.paired import causes, compared, difference_text
from scripts.reproduce.report import by_cell, cell_text, legend, with_earlier
from scripts.reproduce.table import PaperCell, PaperTable, load_table, scaled
from tests.helpers.modules import run_module
from tests.helpers.tables import rest_is_slow

KEPT = ("eval_samples", "epochs", "seconds", "parameters", "data", "versions", "git")
TABLES = sorted(tables.table_names(), key=lambda name: (name == "ablation", name))
DIGITS = {
    "title": "Digits",
    "seeds": {"seed": [0, 1]},
    "rows": {"GS": ["latent=st_gumbel"], "ST": ["latent=straight_through"]},
    "columns": {
        "nll": {"overrides": ["trainer.max_epochs=2"], "metric": "test/nll"},
        "trained": {"overrides": ["trainer.max_epochs=2"], "metric": "train/nelbo"},
    },
    "published": {"GS": [1000.0, 0.1], "ST": [None, 0.1]},
    "tune": {
        "setting": "optimizer.lr",
        "values": [1e-6, 1e-2],
        "rows": ["GS", "ST"],
        "overrides": ["trainer.max_epochs=1"],
    },
}


@pytest.mark.parametrize("name", rest_is_slow(TABLES, 1))
def test_every_cell_of_every_table_is_a_configuration(name: str):
    table = load_table(name)
    seed, values = next(iter(table.seeds.items()))
    assert len(set(values)) == 3
    with configurations():
        for cell in table:
            tuned = (
                [f"{table.tune['setting']}={table.tune['values'][0]}", *table.tune["overrides"]] if table.tune else []
            )
            composed = compose("train", [*cell.overrides, *tuned, f"{seed}={values[1]}", "paths.output_dir=."])
            assert OmegaConf.select(composed, seed) == values[1]
            assert cell.published is None or (cell.published < 1) == (unit(cell.metric) == "%")
    left_out = sum(words is None for cells in table.cells.values() for words in cells.values())
    assert len({(cell.row, cell.column) for cell in table}) == len(table.rows) * len(table.columns) - left_out


def test_table_1_has_its_28_cells():
    cells = list(load_table("jang_table1"))
    assert len({cell.overrides for cell in cells}) == 28
    assert {(cell.row, cell.column): cell.published for cell in cells}["VAE (categorical)", "Gumbel-S."] == 101.5


def test_ours_is_bold_where_its_interval_is_better_and_has_its_gap_where_it_is_worse():
    nats = PaperCell("row", "column", (), "test/nll", 100.0)
    assert cell_text(nats, []) == "– (100.0)"
    assert cell_text(nats, [{"value": 99.0}]) == "99.0 (100.0)"
    assert cell_text(nats, [{"value": 100.04}]) == "100.0 (100.0)"
    assert cell_text(nats, [{"value": 101.5}]) == "101.5 (100.0; +1.5)"
    assert cell_text(nats, [{"value": 98.0}, {"value": 99.0}]) == "98.5 ± 6.4 (100.0)"  # t of 1 is 12.7
    assert cell_text(nats, [{"value": 98.0}, {"value": 98.2}]) == "**98.1 ± 1.3** (100.0)"
    assert cell_text(nats, [{"value": 98.0}, {"value": 99.0}, {"value": 98.5}]) == "**98.5 ± 1.2** (100.0)"
    share = PaperCell("row", "column", (), "test/accuracy", 0.926)
    assert cell_text(share, [{"value": 0.95}]) == "95.0 (92.6)"
    assert cell_text(share, [{"value": 0.95}, {"value": 0.951}]) == "**95.0 ± 0.6** (92.6)"
    assert cell_text(share, [{"value": 0.90}]) == "90.0 (92.6; -2.6)"


def values(row: str, column: str, *numbers: float | None) -> list[dict[str, Any]]:
    """The runs of a cell, by seed; None: not run."""
    return [{"row": row, "column": column, "seed": seed, "value": x} for seed, x in enumerate(numbers) if x is not None]


FACTORS = PaperTable(
    name="factors",
    title="Factors",
    rows={"A": [], "B": []},
    columns={"as it is": [], "He": [], "longer": {"overrides": [], "budget": 2}},
    published={"A": [98.0, None, None], "B": [None, None, None]},
    seeds={"seed": [0, 1, 2]},
    reference="as it is",
    cells={"B": {"longer": None}},
    overrides=["trainer.max_epochs=3"],
)


def test_a_difference_is_of_the_same_seeds():
    """Of seeds that differ by far more than the factors, and one of which a cell lacks."""
    runs = values("A", "as it is", 100, 200, 300) + values("A", "He", None, 198, 298.5) + values("B", "He", 1, 2, 3)
    found = compared(FACTORS, by_cell(runs))
    assert found == {("A", "as it is"): None, ("A", "He"): [-2, -1.5]}  # B has no reference
    assert difference_text([-2, -1.9]) == "**-1.9 ± 0.6**"
    assert difference_text([-2, 1]) == "-0.5 ± 19.1"
    assert difference_text([0.5]) == "+0.5"
    assert difference_text([]) == "–"


def test_each_factor_has_its_nats_the_most_helpful_first():
    runs = (
        values("A", "as it is", 100, 101, 102)
        + values("A", "He", 99.5, 100.4, 101.6)
        + values("A", "longer", 98, 99, 100)
    )
    said = "- A: 101.0, +3.0 from the paper's 98.0. longer **-2.0 ± 0.0**; He **-0.5 ± 0.2**.\n"
    assert causes(FACTORS, by_cell(runs)) == said


@pytest.mark.parametrize(
    ("estimators", "best"), [("columns", {("A", "He"), ("B", "as it is")}), ("rows", {("A", "as it is"), ("A", "He")})]
)
def test_without_a_reference_the_best_of_a_line_is_it(estimators, best):
    table = replace(FACTORS, reference=None, estimators=estimators)
    runs = values("A", "as it is", 2) + values("A", "He", 1) + values("B", "as it is", 3) + values("B", "He", 4)
    assert {cell for cell, found in compared(table, by_cell(runs)).items() if found is None} == best


def test_a_budget_scales_the_epochs_and_null_leaves_a_cell_out():
    cells = {(cell.row, cell.column): cell.overrides for cell in replace(FACTORS, budget=0.5)}
    assert cells["A", "longer"] == ("trainer.max_epochs=3",)
    assert cells["A", "He"] == ("trainer.max_epochs=2",)
    assert ("B", "longer") not in cells
    assert scaled(["trainer.max_epochs=3"], 0.01) == ("trainer.max_epochs=1",)
    schedules = ["trainer.max_epochs=500", "lr_schedule.warmup=2500", "temperature.steps=125000", "latent=mve"]
    assert scaled(schedules, 0.1)[1:] == ("lr_schedule.warmup=250", "temperature.steps=12500", "latent=mve")
    hooper = replace(load_table("hooper_table"), budget=0.2)
    assert hooper.short[:2] == ("trainer.max_epochs=5", "lr_schedule.warmup=50")
    assert all("trainer.max_epochs=100" in cell.overrides for cell in hooper)
    assert replace(FACTORS, tune={"overrides": ["trainer.max_steps=9"]}, budget=0.2).short == ("trainer.max_steps=9",)
    with pytest.raises(UserError, match=r"a budget needs trainer\.max_epochs"):
        scaled(["latent=nvil"], 0.5)


@pytest.mark.slow
def test_a_tiny_ablation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Two runs of half an epoch's budget, and an account of the factor."""
    content = {
        "title": "Tiny",
        "seeds": {"seed": [0]},
        "reference": "as it is",
        "rows": {"digits": ["latent=st_gumbel", "trainer.max_epochs=2", "eval_samples=5"]},
        "columns": {"as it is": [], "He": ["model.network.initial=he"]},
        "published": {"digits": [20.0, None]},
    }
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "ablation.yaml").write_text(json.dumps(content))
    monkeypatch.setattr(tables, "FOLDER", tmp_path / "tables")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reproduce", "ablation", "--budget", "0.5"])
    main()
    found = json.loads(Path("results/ablation.json").read_text())
    assert [run["epochs"] for run in found] == [1, 1]
    assert all({"command", "seed", "steps", "versions", "git", "data"} <= run.keys() for run in found)
    assert "- digits: " in (paired := Path("results/ablation_paired.md").read_text())
    assert f"He {found[1]['value'] - found[0]['value']:+.1f}" in paired


def test_a_table_says_where_not_every_cell_has_all_seeds():
    about = {"eval_samples": 10, "epochs": 5, "data": {"name": "digits", "binarization": "fixed"}}
    first, second = about | {"seed": 0}, about | {"seed": 1}
    assert "seeds: 0, 1; with several" in legend([[first, second], [first, second]])
    assert "seeds: 0, 1, not all of them in every cell; with several" in legend([[first, second], [first]])


def test_what_other_machines_came_to_stays_in_the_report(tmp_path: Path):
    table = PaperTable(name="small", **DIGITS)

    def result(row: str, seed: int, value: float, *words: str) -> dict[str, Any]:
        return {
            "row": row,
            "column": "nll",
            "seed": seed,
            "value": value,
            "command": ["train.py", *words, f"seed={seed}"],
        }

    earlier = [result("GS", 0, 1.0), result("GS", 1, 2.0), result("ST", 1, 3.0, "a=1"), result("gone", 0, 4.0)]
    (tmp_path / "small.json").write_text(json.dumps(earlier))
    assert with_earlier(table, [], tmp_path) == earlier[:3]
    again, other = result("GS", 1, 5.0), result("ST", 0, 6.0, "a=2")
    # Not the mean of runs with different settings.
    assert with_earlier(table, [other, again], tmp_path) == [earlier[0], again, other]
    assert with_earlier(table, [again], tmp_path / "elsewhere") == [again]


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path: Path):
    with FileLock(tmp_path / "run.lock"):
        assert completed_run(["no=such setting"], tmp_path / "run") is None
    assert not (tmp_path / "run").exists()


def test_a_larger_budget_continues_the_runs_of_a_smaller_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The folder of a run does not name its steps."""
    asked: list[tuple[Path, int | None]] = []

    def train(_overrides: object, folder: Path, _quiet: bool, steps: int | None) -> dict[str, Any]:
        asked.append((folder, steps))
        folder.mkdir(parents=True, exist_ok=True)
        content = {"status": "completed", "steps": steps, "metrics": {"test/nll": 1.0}} | dict.fromkeys(KEPT, 0)
        (folder / "results.json").write_text(json.dumps(content | {"steps": steps}))
        return content

    monkeypatch.setattr(reproduction, "completed_run", train)
    table = PaperTable("small", "Small", {"a": ["latent=arm"]}, {"b": []}, {"a": [None]}, {"seed": [0]}, steps=1000)
    for budget, times in ((0.01, 1), (0.01, 1), (0.5, 2), (0.1, 2)):
        runs = reproduction.Reproduction(table, tmp_path, (), 1, budget)
        assert runs.train(list(table), [0]) == []
        assert len(asked) == times
        row = runs.found(next(iter(table)), 0)
        assert row is not None
        assert row["command"][-1] == f"trainer.max_steps={asked[-1][1]}"
    assert [steps for _, steps in asked] == [10, 500]
    assert len({folder for folder, _ in asked}) == 1


@pytest.mark.slow
def test_a_run_with_more_steps_goes_on_where_it_ended(tmp_path: Path):
    words = ["latent=arm", "model.num_classes=2", "model.num_latents=4", "trainer.max_epochs=-1", "eval_samples=2"]
    words += ["lr_schedule=constant", "compile=false"]
    short = completed_run(words, tmp_path / "run", True, steps=15)
    assert short is not None
    assert short["steps"] == 15
    assert completed_run(words, tmp_path / "run", True, steps=10) == short
    longer = completed_run(words, tmp_path / "run", True, steps=30)
    assert longer is not None
    assert longer["steps"] == 30
    assert "resum" in (tmp_path / "run.log").read_text()


@pytest.mark.slow
def test_a_table_is_reproduced_and_nothing_is_run_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "small.yaml").write_text(json.dumps(DIGITS))
    monkeypatch.setattr(tables, "FOLDER", tmp_path / "tables")
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["reproduce", "small", *words, "eval_samples=5"])
        main()
        return json.loads(Path("results/small.json").read_text())

    first = call("--only", "GS", "--jobs", "2")
    runs = Path("logs/reproduce/small")
    done = {path: path.stat().st_mtime_ns for path in runs.glob("*/results.json")}
    assert len(done) == 4  # two short ones, two seeds; both columns are of the same runs
    assert [(row["column"], row["seed"]) for row in first] == [("nll", 0), ("nll", 1), ("trained", 0), ("trained", 1)]
    for row in first:
        assert "optimizer.lr=0.01" in row["command"]
        assert row["tried"]["optimizer.lr=0.01"] < row["tried"]["optimizer.lr=1e-06"]
    folder = runs / "st_gumbel-trainer.max_epochs_2-optimizer.lr_0.01-seed_0-eval_samples_5"
    ended = json.loads((folder / "results.json").read_text())
    assert first[0]["value"] == ended["metrics"]["test/nll"]
    assert "| GS | " in Path("results/small.md").read_text()
    assert "| ST | – | – (0.1) |" in Path("results/small.md").read_text()

    stopped = runs / "st_gumbel-trainer.max_epochs_2-optimizer.lr_0.01-seed_1-eval_samples_5"
    (stopped / "results.json").unlink()  # as if killed while testing
    second = call("--only", "GS", "--jobs", "2")
    assert [row["value"] for row in second] == [row["value"] for row in first]
    assert [path.stat().st_mtime_ns == then for path, then in done.items()].count(False) == 1
    assert len(second) == 4

    capfd.readouterr()
    for only, said in {
        "no-such": "--only no-such matches no cell of small: GS, nll; GS, trained",
        "(": "--only ( is not a regular expression",
    }.items():
        with pytest.raises(SystemExit, match="1"):
            call("--only", only)
        assert capfd.readouterr().err.startswith(f"error: {said}")
    with pytest.raises(SystemExit, match="1"):
        call("--only", "ST", "model.num_classes=1")
    errors = capfd.readouterr().err
    assert errors.count("error: model.num_classes must be") == 2
    assert errors.splitlines()[-1].startswith("error: not completed, 1: straight_through")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("jang_figure5 --jobs 2", "--jobs is not used by jang_figure5"),
        ("jang_figure5 --jobs 0", "--jobs is not used by jang_figure5"),
        ("jang_figure5 --budget 0.5", "--budget is not used by jang_figure5"),
        ("toys --jobs 2", "--jobs is not used by toys"),
        ("toys trainer=gpu", "trainer=gpu is not used by toys"),
        ("reinmax_table --budget 0.5", "a budget needs trainer.max_epochs=… among the overrides of each cell"),
        ("jang_figure5 trainer=gpu", "trainer=gpu is not used by jang_figure5"),
        ("jang_table1 --batch-size 5", "--batch-size is not used by jang_table1"),
    ],
)
def test_an_argument_without_effect_is_refused(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["reproduce", *words.split()])
    with pytest.raises(SystemExit, match="1"):
        main()
    hint = "; --help says how this is used" if "is not used" in said else ""
    assert capsys.readouterr().err == f"error: {said}{hint}\n"


@pytest.mark.slow
def test_figure_5_measures_every_number_of_classes(tmp_path: Path):
    small = ["--classes", 2, 30, "--batch-size", 20, "--repeats", 3, "--output", "."]
    done = run_module("scripts.reproduce", "jang_figure5", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    few, many = json.loads((tmp_path / "jang_figure5.json").read_text())["rows"]
    assert (few["classes"], many["classes"]) == (2, 30)
    assert many["ratio"] > few["ratio"]  # thirty decodings against one: no matter how busy the machine
    assert "| 30 |" in (tmp_path / "jang_figure5.md").read_text()
    assert (tmp_path / "jang_figure5.png").stat().st_size > 5000
