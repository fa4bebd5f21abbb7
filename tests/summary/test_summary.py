"""What runs add up to: means and errors by hand, what is compared with what, and what is never dropped in silence."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

from discrete_latents.config.compose import composed
from discrete_latents.summary import html_report
from discrete_latents.summary.command import summarize_main
from discrete_latents.summary.finished_runs import read_run
from tests.helpers.browser import browse, measured, needs_browser

ROOT = Path(__file__).parents[2]


def write_run(
    folder: Path, seed: int = 0, latent: str = "rloo", metrics: dict[str, float] | None = None, **others: Any
) -> Path:
    """A run as train.py leaves it. others: `given` for the command line, `model` and further parts of the
    configuration, and what else results.json holds."""
    results = {"experiment": "vae", "seed": seed, "latent": latent, "eval_samples": 10, "epochs": 2, "steps": 20}
    results |= {"data": {"name": "digits", "binarization": "fixed"}, "status": "completed"}
    results["metrics"] = metrics or {"test/nll": 1.0}
    config = {"seed": seed, "latent": {"_target_": latent.title(), "samples": len(latent)}, "model": {"hidden": [8]}}
    config |= {key: others.pop(key) for key in ("model", "data") if key in others}
    given = others.pop("given", [])
    hydra = {"overrides": {"task": given}, "runtime": {"choices": {"latent": latent, "model": "categorical_vae"}}}
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    (folder / ".hydra" / "hydra.yaml").write_text(OmegaConf.to_yaml({"hydra": hydra}))
    (folder / "results.json").write_text(json.dumps(results | others))
    return folder


@dataclass
class Summary:
    """What a call printed and wrote."""

    code: int
    out: str
    err: str
    rows: list[dict[str, str]]
    markdown: str
    html: str


@pytest.fixture
def summarize(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Summary]:
    """`discrete-latents-summarize …` in the test's folder."""

    def call(*words: str) -> Summary:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["discrete-latents-summarize", *words, "--output", "out"])
        try:
            summarize_main()
        except SystemExit as stop:
            out, err = capsys.readouterr()
            return Summary(int(stop.code or 0), out, err.rstrip(), [], "", "")
        out, err = capsys.readouterr()
        with Path("out/summary.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return Summary(0, out, err, rows, Path("out/summary.md").read_text(), Path("out/summary.html").read_text())

    return call


def test_means_and_standard_errors_are_those_worked_out_by_hand(summarize: Callable[..., Summary], tmp_path: Path):
    for seed, (nll, accuracy) in enumerate([(1.0, 0.5), (2.0, 0.6), (4.0, 0.7)]):
        metrics = {"test/nll": nll, "test/accuracy": accuracy, "test/kl": 3.0}
        write_run(tmp_path / "sweep" / str(seed), seed, "rloo", metrics)
    write_run(tmp_path / "sweep" / "3", 0, "darn", {"test/nll": 5.0, "test/accuracy": 0.9})
    found = summarize("sweep")
    rloo, darn = found.rows
    assert (rloo["latent"], rloo["runs"], darn["latent"], darn["runs"]) == ("rloo", "3", "darn", "1")
    assert float(rloo["test/nll"]) == pytest.approx(7 / 3)
    assert float(rloo["test/nll standard error"]) == pytest.approx(sqrt(7) / 3)
    assert float(rloo["test/accuracy"]) == pytest.approx(0.6)
    assert float(rloo["test/accuracy standard error"]) == pytest.approx(0.1 / sqrt(3))
    assert (darn["test/nll"], darn["test/nll standard error"], darn["test/kl"]) == ("5.0", "", "")
    lines = found.markdown.splitlines()
    assert lines[2] == "| latent | runs | nll (m = 10) | accuracy, % | kl |"
    assert lines[4] == "| `rloo` | 3 seeds | 2.33 ± 0.88 | 60.0 ± 5.8 | 3.000 ± 0.000 |"
    assert lines[5] == "| `darn` | 1 seed | 5.00 | 90.0 | – |"
    assert "no best is marked: no difference is beyond the noise of the seeds" in found.out
    assert re.search(r"rloo +│ 3 seeds +│ +2\.33 ± 0\.88 │ +60\.0 ± 5\.8 ", found.out)


def test_runs_are_grouped_by_what_differs_and_an_option_stands_for_its_settings(
    summarize: Callable[..., Summary], tmp_path: Path
):
    for seed in (0, 1):
        write_run(tmp_path / "a" / str(seed), seed, "rloo", data={"label_seed": seed, "seed": "${seed}"})
        write_run(tmp_path / "b" / str(seed), seed, "darn", data={"label_seed": seed, "seed": "${seed}"})
        wide = {"hidden": [64], "depth": 1}  # told by the width, so not shown
        write_run(tmp_path / "c" / str(seed), seed, "darn", data={"label_seed": seed, "seed": "${seed}"}, model=wide)
    found = summarize("a", "b")
    assert list(found.rows[0])[:2] == ["latent", "runs"]
    found = summarize("a", "b", "c")
    assert list(found.rows[0])[:3] == ["latent", "model.hidden", "runs"]
    assert {(row["latent"], row["model.hidden"], row["runs"]) for row in found.rows} == {
        ("rloo", "[8]", "2"),
        ("darn", "[8]", "2"),
        ("darn", "[64]", "2"),
    }


def test_what_the_command_line_gave_is_shown_even_where_the_estimator_tells_it(
    summarize: Callable[..., Summary], tmp_path: Path
):
    write_run(tmp_path / "a", latent="exact", given=["latent=exact", "+model.epochs=2"], model={"epochs": 2})
    write_run(tmp_path / "b", latent="rloo", given=["latent=rloo"], model={"epochs": 9})
    assert list(summarize(".").rows[0])[:3] == ["latent", "model.epochs", "runs"]


def test_keys_and_metrics_can_be_chosen_and_a_mean_over_other_settings_says_so(
    summarize: Callable[..., Summary], tmp_path: Path
):
    for width in (8, 64):
        write_run(tmp_path / str(width), latent="rloo", model={"hidden": [width]}, seconds=width / 2)
    found = summarize(".", "--by", "latent", "data.name", "--metrics", "seconds", "nll")
    assert list(found.rows[0])[:4] == ["latent", "data.name", "runs", "seconds"]
    assert (found.rows[0]["seconds"], found.rows[0]["runs"]) == ("18.0", "2")
    assert "| 2 runs |" in found.markdown
    assert "means are also over runs that differ in model.hidden" in found.out
    found = summarize(".", "--by", "hidden")
    assert (found.code, found.err) == (
        1,
        "error: --by hidden is not a key of any run: did you mean model.hidden?",
    )
    found = summarize(".", "--metrics", "nell")
    assert found.code == 1
    assert found.err.startswith("error: --metrics nell is not a metric of any run")


def test_what_does_not_count_is_counted_and_named_everywhere(summarize: Callable[..., Summary], tmp_path: Path):
    write_run(tmp_path / "runs" / "fine", metrics={"test/nll": 3.0})
    write_run(tmp_path / "runs" / "killed")
    (tmp_path / "runs" / "killed" / "results.json").unlink()
    damaged = write_run(tmp_path / "runs" / "damaged")
    (damaged / "results.json").write_text('{"experiment": "va')
    write_run(tmp_path / "runs" / "failed", status="failed", error="loss is\nnot finite")
    write_run(tmp_path / "runs" / "empty", metrics={"test/nll": "high"})  # type: ignore[dict-item]
    (write_run(tmp_path / "runs" / "config", 7) / ".hydra" / "config.yaml").write_text("a: [")
    (tmp_path / "runs" / "fine" / "evaluations" / "stopped").mkdir(parents=True)
    older = write_run(tmp_path / "runs" / "older", metrics={"test/nll": 9.0})
    os.utime(older / "results.json", (1, 1))
    found = summarize("runs")
    assert [row["test/nll"] for row in found.rows] == ["3.0"]
    reasons = {
        "killed": "no results.json",
        "damaged": "results.json is damaged",
        "failed": "status failed: loss is not finite",
        "empty": "results.json is damaged",
        "config": "its configuration is damaged",
        "fine/evaluations/stopped": "no results.json",
        "older": "the same settings and seed as runs/fine",
    }
    assert "not in the table, 7:" in found.out
    assert "Not in the table: 7" in found.html
    for folder, reason in reasons.items():
        assert f"runs/{folder}: {reason}" in found.out
        assert f"runs/{folder}: {reason}" in found.markdown
        assert f"<code>runs/{folder}</code>: {reason}" in found.html


def test_a_path_without_results_is_one_line(summarize: Callable[..., Summary], tmp_path: Path):
    write_run(tmp_path / "fine")
    for job in range(3):
        write_run(tmp_path / "failed" / str(job), status="failed", error="no data")
    (tmp_path / "nothing").mkdir()
    for path, words in {
        "nothing": "nothing has no results of a completed run",
        "missing": "missing does not exist",
        "failed": "failed has no results of a completed run: failed/0: status failed: no data; 2 more",
    }.items():
        found = summarize("fine", path)
        assert (found.code, found.err, found.out) == (1, f"error: {words}", "")


def test_evaluations_are_never_averaged_with_runs_nor_ranked_against_them(
    summarize: Callable[..., Summary], tmp_path: Path
):
    for number, latent in enumerate(["rloo", "darn"]):
        for seed in range(2):
            run = write_run(tmp_path / latent / str(seed), seed, latent, {"test/nll": 5.0 + number + seed / 100})
            again = write_run(run / "evaluations" / "a", seed, latent, {"test/nll": 2.0}, checkpoint="x/best.ckpt")
            shutil.rmtree(again / ".hydra")  # an evaluation has that of its run
    for words in ([], ["--by", "latent"]):
        found = summarize("rloo", "darn", *words)
        assert [(row["evaluation"], row["runs"], row["test/nll"]) for row in found.rows] == [
            ("", "2", "5.005"),
            ("", "2", "6.005"),
            ("best, test", "2", "2.0"),
            ("best, test", "2", "2.0"),
        ]
        assert "**5.0050 ± 0.0050**" in found.markdown


def test_what_is_not_finite_is_said_and_never_best(summarize: Callable[..., Summary], tmp_path: Path):
    diverged = write_run(tmp_path / "a", 0, "rloo", {"test/nll": nan})
    (diverged / "metrics.csv").write_text("step,val/nelbo,train/nelbo\n9,nan,inf\n19,nan,nan\n")
    write_run(tmp_path / "b", 1, "rloo", {"test/nll": 1.0})
    for seed in range(2):
        write_run(tmp_path / "c" / str(seed), seed, "darn", {"test/nll": 7.0})
        write_run(tmp_path / "d" / str(seed), seed, "nvil", {"test/nll": 8.0})
    found = summarize(".")
    assert [(row["latent"], row["test/nll"]) for row in found.rows] == [
        ("darn", "7.0"),
        ("nvil", "8.0"),
        ("rloo", "nan"),
    ]
    assert "a: test/nll is nan" in found.out
    assert "**7.000 ± 0.000**" in found.markdown


@pytest.mark.parametrize(
    ("words", "metric", "value"),
    [
        (["experiment=vae_mnist"], "test/nll", "101.5"),
        (["experiment=vae_mnist", "eval_samples=10"], "test/nll", None),
        (["experiment=vae_mnist", "model.num_latents=30"], "test/nll", None),
        (
            ["experiment=vae_mnist", "model/network=linear", "model.num_latents=200", "model.num_classes=2"],
            "test/nll",
            "105.0",
        ),
        (["experiment=sbn_mnist"], "test/nll", "59.0"),
        (["experiment=sbn_mnist_bernoulli"], "test/nll", "58.5"),
        (["experiment=ssl_mnist"], "test/accuracy", "0.924"),
        (["experiment=vae_digits"], "test/nll", None),
    ],
)
def test_what_papers_report_stands_beside_their_settings_alone(
    summarize: Callable[..., Summary], tmp_path: Path, words: list[str], metric: str, value: str | None
):
    config = OmegaConf.to_container(composed(words, return_hydra_config=True))
    assert isinstance(config, dict)
    choices = config.pop("hydra")["runtime"]["choices"]
    named = {key: choices[key] for key in ("experiment", "latent")} | {"eval_samples": config["eval_samples"]}
    folder = write_run(tmp_path / "run", metrics={metric: 0.5}, **named)
    results = json.loads((folder / "results.json").read_text())
    results["data"] = {key: config["data"][key] for key in ("name", "binarization")}
    (folder / "results.json").write_text(json.dumps(results))
    hydra = {"overrides": {"task": words}, "runtime": {"choices": choices}}
    OmegaConf.save({"hydra": hydra}, folder / ".hydra" / "hydra.yaml")
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    found = summarize("run")
    assert found.rows[0].get(f"{metric} published") == value
    assert ("Jang et al. 2017" in found.html) == ("Jang et al. 2017" in found.markdown) == (value is not None)


def test_nothing_that_comes_from_a_run_becomes_part_of_the_page(summarize: Callable[..., Summary], tmp_path: Path):
    evil = "<script>alert(1)</script>"
    for i, latent in enumerate(["$x_{", evil]):
        own = {"experiment": evil, "model": {"hidden": f'"><img src=x>{evil}'}}
        run = write_run(tmp_path / f"<b>{i}", 0, latent, {"test/<b>$x_{$": 1.0}, **own)
        (run / "metrics.csv").write_text("step,val/nelbo,val/<b>$x_{$\n9,2.0,3.0\n19,1.0,2.0\n")
        (run / "images").mkdir()
        Image.new("L", (8, 8)).save(run / "images" / f"{'<i>' * (1 - i)}x.png")
    write_run(tmp_path / "<u>failed", status=evil)
    page = summarize(".").html
    assert "$x_{" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;u&gt;failed" in page
    assert page.count("<script") == 2  # the page's own data and script
    assert not re.search("<script>alert|<img src=x|<[biu]>", page)
    without = re.sub("<script>.*?</script>", "", page, flags=re.DOTALL).replace("&#34;&gt;&lt;img src=x", "")
    loaded = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", without)
    assert len([link for link in loaded if link.startswith("data:image/png;base64,")]) == 2
    assert all(link.startswith(("data:", "#")) for link in loaded)


def test_a_curve_is_drawn_over_epochs_a_thin_line_a_run_and_a_thick_one_for_the_mean(tmp_path: Path):
    logged = []
    for seed, last in enumerate((3.0, 5.0)):
        folder = write_run(tmp_path / str(seed), seed)
        extra = "19,,9.0,\n" if seed else ""  # one that goes on for longer
        (folder / "metrics.csv").write_text(
            f"step,train/nelbo,val/nelbo,test/nll\n4,8.0,,\n9,,{last + 1},\n14,,{last},\n{extra}20,,,1.0\n"
        )
        logged.append(html_report.read_curves(read_run(folder / "results.json")))
    assert logged[0] == {"train/nelbo": {0.5: 8.0}, "val/nelbo": {1.0: 4.0, 1.5: 3.0}}  # 20 steps are 2 epochs
    charts = html_report.curve_charts([logged], ["test/nll"], ["rloo"])
    chart = next(one for one in charts if one["title"] == "val/nelbo")
    *thin, thick = chart["lines"]
    assert [[value for _, value in line["points"]] for line in thin] == [[4, 3], [6, 5, 9]]
    assert [line["thin"] for line in chart["lines"]] == [True, True, False]
    assert thick["points"] == [(1.0, 5), (1.5, 4)]
    assert chart["range"][1] >= 9
    early = {0.1: 1000.0, 1.0: 4.0, 1.5: 3.0}  # the beginning alone
    (chart,) = html_report.curve_charts([[{"val/nelbo": early}]], ["test/nll"], ["rloo"])
    assert chart["range"][1] < 10
    assert [line["thin"] for line in chart["lines"]] == [False]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two estimators, two seeds, trained for two epochs; of one run a failed evaluation."""
    folder = tmp_path_factory.mktemp("sweeps") / "a sweep"
    words = ["latent=gumbel_softmax,st_gumbel", "seed=0,1", "trainer.max_epochs=2", "eval_samples=2"]
    command = [sys.executable, str(ROOT / "train.py"), "-m", *words, f"hydra.sweep.dir='{folder}'"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "0" / "evaluations" / "stopped").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def report(sweep: Path) -> Path:
    """The report of that sweep."""
    command = [sys.executable, "-m", "discrete_latents.summary", sweep.name]
    done = subprocess.run(command, cwd=sweep.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not in the table, 1:" in done.stdout
    return sweep / "summary.html"


@pytest.mark.slow
def test_a_real_sweep_adds_up(sweep: Path, report: Path):
    results = [json.loads((sweep / str(job) / "results.json").read_text()) for job in range(4)]
    with (report.parent / "summary.csv").open(newline="") as file:
        rows = {row["latent"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"gumbel_softmax", "st_gumbel"}
    for latent, row in rows.items():
        for metric in ("test/nll", "test/nelbo", "test/kl"):
            first, second = (found["metrics"][metric] for found in results if found["latent"] == latent)
            assert float(row[metric]) == pytest.approx((first + second) / 2)
            assert float(row[f"{metric} standard error"]) == pytest.approx(abs(first - second) / 2)
    page = report.read_text()
    shown = re.findall('<img src="data:image/png;base64,([^"]+)"', page)
    drawn = [path.read_bytes() for path in sweep.rglob("images/*.png")]
    assert sorted(map(b64decode, shown)) == sorted(drawn)
    assert len(drawn) >= 12
    assert page.count("discrete_latents.models.CategoricalVAE") == 4


@pytest.mark.slow
@needs_browser
def test_the_report_renders_in_a_browser_in_light_and_in_dark(report: Path, tmp_path: Path):
    # At "load" every image has its size; decode() would wait for a frame, which a page that is dumped may never draw.
    script = """
      const say = document.body.dataset, images = [...document.images];
      say.images = images.filter(image => image.naturalWidth > 50 && image.width > 50).length;
      const drawing = document.querySelector(".charts svg").getBoundingClientRect();
      say.drawn = drawing.width > 200 && drawing.height > 100;
      say.wide = document.documentElement.scrollWidth > innerWidth;
      const table = document.querySelector("table");
      say.table = table.innerText;
      const heading = [...table.querySelectorAll("th")].find(cell => cell.innerText.includes("nll"));
      const column = heading.cellIndex, rows = table.tBodies[0].rows;
      const values = () => [...rows].map(row => row.cells[column].innerText);
      heading.querySelector("button").click();
      say.up = values().join(";");
      heading.querySelector("button").click();
      say.down = values().join(";");
      say.sort = heading.getAttribute("aria-sort");
      const row = table.tBodies[0].rows[0];
      row.dispatchEvent(new PointerEvent("pointerenter"));
      const marked = [...document.querySelectorAll("path.curve.marked")];
      say.marked = marked.length > 0 && marked.every(path => path.dataset.row === row.dataset.row);
      row.dispatchEvent(new PointerEvent("pointerleave"));
      say.unmarked = document.querySelectorAll("path.curve.marked").length;
      const chart = document.querySelector(".chart svg"), box = chart.getBoundingClientRect();
      say.before = document.querySelector(".readings").innerText;
      chart.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + 60, clientY: box.top + 50}));
      say.after = document.querySelector(".readings").innerText;
      document.querySelector(".pictures img").click();
      say.enlarged = document.querySelector("dialog").open;
      document.querySelector("dialog").click();
      say.closed = !document.querySelector("dialog").open;
    """
    page = report.read_text()
    (tmp_path / "measured.html").write_text(measured(page, script))
    for width in (1200, 390):
        found = browse(tmp_path / "measured.html", "--dump-dom", f"--window-size={width},900")
        said = dict(re.findall(r'data-([a-z]+)="([^"]*)"', found.partition("<body")[2].partition(">")[0]))
        assert "<title>vae_digits · digits · fixed binarisation · 4 runs</title>" in found
        assert said["images"] == str(page.count("<img ") - 1)  # but for the one to enlarge
        assert (said["drawn"], said["wide"], said["marked"], said["unmarked"]) == ("true", "false", "true", "0")
        assert re.search(r"st_gumbel\s+2 seeds\s+\d+\.\d+ ± \d", said["table"])
        up = said["up"].split(";")
        assert [float(cell.split()[0]) for cell in up] == sorted(float(cell.split()[0]) for cell in up)
        assert (said["down"].split(";"), said["sort"]) == (up[::-1], "descending")
        assert said["before"] != said["after"]
        assert (said["enlarged"], said["closed"]) == ("true", "true")
    foreign = tmp_path / "foreign.html"  # as written, it runs its own script and no other
    foreign.write_text(page.replace("</body>", '<script>document.body.dataset.ran = "yes"</script></body>'))
    drawn = browse(foreign, "--dump-dom")
    assert "data-ran" not in drawn
    assert drawn.count('class="chart"') >= 3
    copied = Path(shutil.copy(report, tmp_path))
    shades = []
    for scheme in (1, 0):
        picture = tmp_path / f"{scheme}.png"
        options = [
            f"--screenshot={picture}",
            "--window-size=1200,1600",
            f"--blink-settings=preferredColorScheme={scheme}",
        ]
        browse(copied, *options)
        pixels = Image.open(picture).convert("L")
        shades.append(pixels.getpixel((2, 2)))
        assert len(pixels.getcolors() or []) > 50  # text, curves and pictures, not a blank page
    assert shades[0] > 230 > 60 > shades[1]
