"""The documentation holds: its figures are those of results/, its code runs, its links lead somewhere, it is built."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest

from discrete_latents.config.compose import composed
from discrete_latents.data import digits
from tests.helpers.problems import LATENTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
WRITTEN = {"explained.md"}
"""Pages that are written when the site is built."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_is_short():
    assert len(README.split()) <= 900


def test_the_table_of_the_readme_is_the_one_of_the_runs():
    rows = [line for line in (ROOT / "results/jang_table1.md").read_text().splitlines() if line.startswith("|")]
    assert "\n".join(rows) in README
    cells = [cell for row in rows[2:] for cell in row.split("|")[2:-1]]
    assert f"{sum('**' in cell for cell in cells)} of {len(cells)} cells are better" in README


def test_the_speed_of_the_readme_is_the_measured_one():
    table = (ROOT / "results/benchmark.md").read_text().split("\n\n")[0].splitlines()
    place = [cell.strip() for cell in table[0].split("|")].index("ours")
    ratios = [float(row.split("|")[place].split()[0]) for row in table if ", steady" in row]
    assert f"{min(ratios):.2f} to {max(ratios):.2f} of a plain loop" in README


def test_every_figure_of_a_measurement_is_there_as_pdf_too():
    figures = [*(ROOT / "results").glob("*.png"), ROOT / "docs" / "relaxation.png"]
    assert len(figures) >= 6
    assert [path.name for path in figures if not path.with_suffix(".pdf").is_file()] == []


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_measured_number_in_the_text_is_one_of_the_results_on_its_page(page: Path):
    """With a decimal point and outside code. Numbers come from results/, which commands write."""
    text = page.read_text()
    shown = " ".join((ROOT / name).read_text() for name in re.findall(r'--8<-- "(results/.+?)"', text))
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|^    .*$", "", text, flags=re.DOTALL | re.MULTILINE)
    known = set(re.findall(r"\d+\.\d+", shown))
    assert set(re.findall(r"(?<![\w.])\d+\.\d+(?!\.?\w)", prose)) <= known


def code() -> list[tuple[str, str]]:
    """The Python blocks of each page that import something; the others are parts of a file."""
    blocks = []
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            if re.match(r"(import|from) ", block) and "\nclass " not in block:
                blocks.append((f"{page.relative_to(ROOT)}: {block.splitlines()[0]}", block))
    return blocks


@pytest.mark.parametrize("block", [block for _, block in code()], ids=[name for name, _ in code()])
def test_code_runs(block: str, vae_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    given = re.sub(r'load_run\("[^"]*"', f"load_run({str(vae_run)!r}", block)
    exec(compile(given, "the documentation", "exec"), {"images": digits().test.grey[:30]})


def test_code_was_found():
    assert len(code()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_files_lead_somewhere(page: Path):
    text = page.read_text()
    targets = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    for target in targets:
        if "://" not in target and page.name != "estimators.md":
            path = page.parent / target.partition("#")[0]
            generated = path.parent.name in ("reference", "notebooks") or path.suffix == ".png" or path.name in WRITTEN
            assert path.exists() or (generated and page.name != "README.md"), f"{page.name}: {target}"


@pytest.mark.parametrize("name", LATENTS)
def test_every_estimator_has_its_formula_and_paper(name: str):
    from omegaconf import OmegaConf

    about = OmegaConf.load(ROOT / "docs/reference/estimators.yaml")[name]
    assert {"gradient", "passes", "formula", "paper"} <= set(about)
    assert composed([f"latent={name}", "paths.output_dir=."]).latent["_target_"]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path):
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= 20
    for page in pages:
        loaded = re.findall(r'<(?:script|link|img)[^>]*?(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert not [address for address in loaded if "w3.org" not in address], page.name
    estimators = (tmp_path / "site" / "reference" / "estimators.html").read_text()
    assert estimators.count("<math") >= len(LATENTS)
    for notebook in (ROOT / "docs" / "notebooks").glob("*.py"):  # each was run for its page
        assert (tmp_path / "site" / "notebooks" / f"{notebook.stem}_0.png").stat().st_size > 5_000


def test_the_citation_has_the_version_of_the_package():
    import tomllib

    from omegaconf import OmegaConf

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert OmegaConf.load(ROOT / "CITATION.cff").version == version
