"""The report of a run: what it shows, in whatever state the run is, and that it works in a browser."""

import json
import re
import shutil
from base64 import b64decode
from pathlib import Path

import pytest
from PIL import Image

from discrete_latents.report import write_run_report
from discrete_latents.report.run_report import FRAMES, some
from discrete_latents.runs.directory import RunDirectory
from tests.helpers.browser import browse, measured, needs_browser


@pytest.fixture
def run(vae_run: Path, tmp_path: Path) -> RunDirectory:
    return RunDirectory(shutil.copytree(vae_run, tmp_path / "a run"))


def page(run: RunDirectory) -> str:
    return write_run_report(run).read_text()


def test_a_run_leaves_its_report(vae_run: Path):
    run = RunDirectory(vae_run)
    text = run.report.read_text()
    for name in json.loads(run.results.read_text())["metrics"]:
        assert f"<td>{name}</td>" in text
    data = json.loads(re.search(r'id="data">(.*)</script>', text)[1])  # type: ignore[index]
    assert data["charts"][0]["title"] == "bound"
    assert "CategoricalVAE" in text
    assert "resume=" in text
    shown = [b64decode(part) for part in re.findall('<img src="data:image/png;base64,([^"]+)"', text)]
    assert [path.read_bytes() for path in sorted(run.images.glob("*.png"))] == shown


def test_pictures_of_training_stand_before_the_last(run: RunDirectory):
    for epoch in (9, 10, 100):
        folder = run.images / f"epoch_{epoch:04d}"
        folder.mkdir()
        shutil.copy(run.images / "samples.png", folder)
    text = page(run)
    frames = re.findall('alt="(epoch [0-9]+|at the end)"', text.partition("<figcaption>samples")[0])
    assert frames[-4:] == ["epoch 9", "epoch 10", "epoch 100", "at the end"]
    assert 'max="3"' in text


def test_many_epochs_are_thinned_evenly():
    epochs = [(number, Path(str(number))) for number in range(1, 201)]
    shown = [number for number, _ in some(epochs)]
    assert (shown[0], shown[-1], len(shown)) == (1, 200, FRAMES)
    assert some(epochs[:5]) == epochs[:5]


@pytest.mark.parametrize("part", ["results", "metrics", "images", "config"])
def test_what_is_missing_is_left_out(run: RunDirectory, part: str):
    path = getattr(run, part)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "</html>" in page(run)


def test_nothing_of_a_run_becomes_code(run: RunDirectory):
    evil = "</script><script>alert(1)</script>"
    results = json.loads(run.results.read_text())
    results["experiment"] = evil
    results["metrics"][evil] = 1.0
    run.results.write_text(json.dumps(results))
    with run.metrics.open("a") as file:
        head = run.metrics.read_text().splitlines()[0]
        file.write(",".join(["7", *["1.0"] * head.count(",")]) + "\n")
    run.metrics.write_text(run.metrics.read_text().replace("val/nelbo", f"val/{evil}"))
    text = page(run)
    assert "<script>alert" not in text
    assert text.count("<script") == 2


def test_a_link_to_a_picture_of_somebody_else_is_not_shown(run: RunDirectory, tmp_path: Path):
    Image.new("L", (80, 80), 77).save(tmp_path / "private.png")
    (run.images / "private.png").symlink_to(tmp_path / "private.png")
    assert "<figcaption>private" not in page(run)


def test_a_report_that_fails_is_a_warning(run: RunDirectory, caplog: pytest.LogCaptureFixture):
    from discrete_latents.callbacks import RunReport

    run.metrics.write_bytes(b"\xff\xfe")
    RunReport(str(run)).write()
    assert "no " in caplog.text
    assert "report.html" in caplog.text


@pytest.mark.slow
@needs_browser
def test_the_report_works_in_a_browser(run: RunDirectory, tmp_path: Path):
    (run.images / "epoch_0001").mkdir()
    shutil.copy(run.images / "reconstructions.png", run.images / "epoch_0001" / "samples.png")
    text = page(run)
    script = """
      const say = document.body.dataset, chart = document.querySelector(".chart svg");
      const box = chart.getBoundingClientRect();
      say.charts = document.querySelectorAll(".chart path.curve").length;
      say.before = document.querySelector(".readings li").textContent;
      chart.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + 60, clientY: box.top + 50}));
      say.after = document.querySelector(".readings li").textContent;
      const frames = [...document.querySelectorAll("figure.frames")].find(one => one.textContent.includes("samples"));
      const slider = frames.querySelector("input");
      const shown = () => [...frames.querySelectorAll("img")].map(one => one.hidden);
      say.last = shown();
      slider.value = 0;
      slider.dispatchEvent(new Event("input"));
      say.first = shown();
      say.label = frames.querySelector("output").textContent;
      frames.querySelector("img").click();
      say.enlarged = document.querySelector("dialog").open;
      document.querySelector("dialog").click();
      say.closed = !document.querySelector("dialog").open;
      say.wide = document.documentElement.scrollWidth > innerWidth;
    """
    (tmp_path / "measured.html").write_text(measured(text, script))
    for width in (1200, 390):  # a desk and a telephone
        found = browse(tmp_path / "measured.html", "--dump-dom", f"--window-size={width},900")
        said = dict(re.findall(r'data-([a-z]+)="([^"]*)"', found))
        assert int(said["charts"]) >= 4
        assert said["before"] != said["after"]
        assert said["last"] == "true,false"
        assert said["first"] == "false,true"
        assert said["label"] == "epoch 1"
        assert (said["enlarged"], said["closed"], said["wide"]) == ("true", "true", "false")
    drawn = browse(run.report, "--dump-dom")  # as written: its own script runs, and no other
    assert drawn.count('class="chart"') >= 3
    foreign = tmp_path / "foreign.html"
    foreign.write_text(text.replace("</body>", '<script>document.body.dataset.ran = "yes"</script></body>'))
    assert "data-ran" not in browse(foreign, "--dump-dom")
