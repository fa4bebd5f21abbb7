"""Papers' tables: what they ask for exists, what is chosen is best on validation, what is written is what was run."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from discrete_latents.config.compose import composed

ROOT = Path(__file__).parents[2]
TABLES = sorted(path.stem for path in (ROOT / "scripts" / "tables").glob("*.yaml"))
DIGITS = {
    "title": "Digits",
    "seeds": {"seed": [0, 1]},
    "rows": {"GS": ["latent=st_gumbel"], "ST": ["latent=straight_through"]},
    "columns": {
        "nll": {"words": ["trainer.max_epochs=2"], "metric": "test/nll"},
        "trained": {"words": ["trainer.max_epochs=2"], "metric": "train/nelbo"},
    },
    "published": {"GS": [1000.0, 0.1], "ST": [None, 0.1]},
    "tune": {
        "setting": "optimizer.lr",
        "values": [1e-6, 1e-2],
        "rows": ["GS", "ST"],
        "words": ["trainer.max_epochs=1"],
    },
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A module of scripts/."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_of_every_table_is_a_configuration(name: str, script: Callable[[str], Any]):
    table = script("paper_tables").read(name)
    seed, values = next(iter(table.seeds.items()))
    assert len(set(values)) == 3
    for cell in table:
        tuned = [f"{table.tune['setting']}={table.tune['values'][0]}", *table.tune["words"]] if table.tune else []
        config = composed([*cell.words, *tuned, f"{seed}={values[1]}", "paths.output_dir=."])
        assert OmegaConf.select(config, seed) == values[1]
        assert cell.published is None or (cell.published < 1) == cell.percent
    assert len({(cell.row, cell.column) for cell in table}) == len(table.rows) * len(table.columns)


def test_table_1_has_its_28_cells(script: Callable[[str], Any]):
    cells = list(script("paper_tables").read("jang_table1"))
    assert len({cell.words for cell in cells}) == 28
    assert {(cell.row, cell.column): cell.published for cell in cells}["VAE (categorical)", "Gumbel-S."] == 101.5


def test_ours_is_bold_where_it_is_as_good_and_has_its_gap_where_not(script: Callable[[str], Any]):
    text, cell = script("paper_report").text, script("paper_tables").Cell
    nats = cell("row", "column", (), "test/nll", 100.0)
    assert text(nats, []) == "– (100.0)"
    assert text(nats, [{"value": 99.0}]) == "**99.0** (100.0)"
    assert text(nats, [{"value": 100.04}]) == "**100.0** (100.0)"
    assert text(nats, [{"value": 101.5}]) == "101.5 (100.0; +1.5)"
    assert text(nats, [{"value": 98.0}, {"value": 99.0}]) == "**98.5 ± 0.5** (100.0)"
    share = cell("row", "column", (), "test/accuracy", 0.926)
    assert text(share, [{"value": 0.95}]) == "**95.0** (92.6)"
    assert text(share, [{"value": 0.90}]) == "90.0 (92.6; -2.6)"


def test_a_table_says_where_not_every_cell_has_all_seeds(script: Callable[[str], Any]):
    legend = script("paper_report").legend
    about = {"eval_samples": 10, "epochs": 5, "data": {"name": "digits", "binarization": "fixed"}}
    first, second = about | {"seed": 0}, about | {"seed": 1}
    assert "seeds: 0, 1; with several" in legend([[first, second], [first, second]])
    assert "seeds: 0, 1, not all of them in every cell; with several" in legend([[first, second], [first]])


def test_what_other_machines_came_to_stays_in_the_report(script: Callable[[str], Any], tmp_path: Path):
    report, table = script("paper_report"), script("paper_tables").PaperTable(name="small", **DIGITS)

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
    assert report.with_earlier(table, [], tmp_path) == earlier[:3]
    again, other = result("GS", 1, 5.0), result("ST", 0, 6.0, "a=2")
    # Not the mean of runs with different settings.
    assert report.with_earlier(table, [other, again], tmp_path) == [earlier[0], again, other]
    assert report.with_earlier(table, [again], tmp_path / "elsewhere") == [again]


def test_a_run_that_another_process_is_at_is_left_to_it(script: Callable[[str], Any], tmp_path: Path):
    running = script("running")
    with FileLock(tmp_path / "run.lock"):
        assert running.run(["no=such setting"], tmp_path / "run") is None
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_table_is_reproduced_and_nothing_is_run_twice(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "small.yaml").write_text(json.dumps(DIGITS))
    monkeypatch.setattr(script("paper_tables"), "FOLDER", tmp_path / "tables")
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["reproduce.py", "small", *words, "eval_samples=5"])
        script("reproduce").main()
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
    assert "| GS | **" in Path("results/small.md").read_text()
    assert "| ST | – | – (0.1) |" in Path("results/small.md").read_text()

    stopped = runs / "st_gumbel-trainer.max_epochs_2-optimizer.lr_0.01-seed_1-eval_samples_5"
    (stopped / "results.json").unlink()  # as if killed while testing
    second = call("--only", "GS", "--jobs", "2")
    assert [row["value"] for row in second] == [row["value"] for row in first]
    assert [path.stat().st_mtime_ns == then for path, then in done.items()].count(False) == 1
    assert len(second) == 4

    with pytest.raises(SystemExit, match=r"--only no-such matches no cell of small: GS, nll; GS, trained"):
        call("--only", "no-such")
    with pytest.raises(SystemExit, match=r"not completed, 1: straight_through"):
        call("--only", "ST", "model.num_classes=1")
    assert capfd.readouterr().err.count("error: model.num_classes must be") == 2
