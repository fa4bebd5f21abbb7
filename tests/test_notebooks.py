"""The notebooks of the documentation run as plain Python scripts, and as pages with what they print and draw."""

import runpy
from pathlib import Path

import jaxtyping
import matplotlib
import matplotlib.pyplot as plt
import pytest

from scripts.documentation.notebooks import FOLDER, cells, page

NOTEBOOKS = sorted(FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def _as_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Annotations are not checked, figures need no window, and nothing is written into the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    matplotlib.use("Agg")
    plt.close("all")


TRAINING = {"digits", "sweep"}
"""In CI, these run for the documentation's site alone."""
CASES = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in TRAINING)) for path in NOTEBOOKS]


@pytest.mark.parametrize("path", CASES)
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
def test_a_notebook_runs_as_a_script(path: Path, capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(path))
    assert plt.get_fignums()
    assert capsys.readouterr().out
    plt.close("all")


def test_there_are_four_of_them_and_they_have_text_and_code():
    assert {path.stem for path in NOTEBOOKS} >= {"digits", "trained_model", "estimators", "sweep"}
    for path in NOTEBOOKS:
        kinds = [is_code for is_code, _ in cells(path.read_text())]
        assert kinds[0] is False
        assert sum(kinds) >= 3


def test_a_page_has_what_the_code_prints_and_draws(tmp_path: Path):
    script = tmp_path / "small.py"
    script.write_text(
        "# %% [markdown]\n# # A title\n#\n# Text.\n\n# %%\nimport matplotlib.pyplot as plt\n\nprint(1 + 1)\n\n# %%\n"
        "plt.plot([1, 2])\n'the value'\n"
    )
    saved: list[str] = []
    text = page(script, lambda figure, name: saved.append(name))
    assert text.startswith("# A title\n\nText.\n")
    assert "```text\n2\n```" in text
    assert "```text\n'the value'\n```" in text
    assert saved == ["small_0.png"]
    assert "(small_0.png)" in text
