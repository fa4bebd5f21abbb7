"""The package as a wheel: installed in a folder of its own, without the checkout, it trains and evaluates."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.cli.conftest import ROOT, SMALL, Outcome

pytestmark = pytest.mark.slow

SHIPPED = ("model.safetensors", "results.json", "README.md", ".hydra/config.yaml", ".hydra/hydra.yaml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built as an installer builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True
    )
    if done.returncode and any(
        word in done.stderr for word in ("No matching distribution", "ConnectionError", "Max retries")
    ):
        pytest.skip("the build backend, hatchling, cannot be fetched from here")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """Where the commands are run: no checkout, nothing to import."""
    return tmp_path_factory.mktemp("no checkout")


def run(installed: Path, cwd: Path, *command: str) -> Outcome:
    """Runs Python with the installed wheel before the checkout that this environment has in editable form."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def trained(installed, empty) -> Outcome:
    """A run of one epoch by the console script that the wheel installs."""
    script = str(installed / "bin" / "discrete-latents-train")
    return run(installed, empty, script, *SMALL, "trainer.max_epochs=1", "hydra.run.dir=a run")


def test_the_wheel_holds_the_package_and_its_configurations(wheel):
    names = ZipFile(wheel).namelist()
    ours = [name for name in names if ".dist-info/" not in name]
    plugins = {name for name in ours if name.startswith("hydra_plugins/")}
    assert plugins == {"hydra_plugins/stacked_launcher.py"}
    package, configs = ROOT / "src" / "discrete_latents", ROOT / "configs"
    expected = {f"discrete_latents/configs/{path.relative_to(configs)}" for path in configs.rglob("*.y*ml")}
    for kind in ("*.py", "*.yaml", "*.jinja", "*.npz", "*.js", "*.css", "*.json", "*.md", "*.safetensors", "py.typed"):
        expected |= {f"discrete_latents/{path.relative_to(package)}" for path in package.rglob(kind)}
    assert {"discrete_latents/summary/published.yaml", "discrete_latents/summary/report.html.jinja"} <= expected
    assert "discrete_latents/data/handwritten_digits.npz" in expected
    assert {f"discrete_latents/shipped/vae_digits/{name}" for name in SHIPPED} <= expected
    assert set(ours) == expected | plugins


def test_the_installed_package_is_what_is_imported(installed, empty):
    code = "import discrete_latents, discrete_latents.cli as l; print(discrete_latents.__file__); print(l.CONFIGS)"
    outcome = run(installed, empty, "-c", code)
    assert outcome.code == 0, outcome.err
    assert outcome.out.split() == [
        str(installed / "discrete_latents" / "__init__.py"),
        str(installed / "discrete_latents" / "configs"),
    ]


def test_the_wheel_names_its_commands(installed, empty):
    code = (
        "import sys; from importlib.metadata import distributions\n"
        "found = next(d for d in distributions(path=[sys.argv[1]]) if d.name == 'discrete-latents')\n"
        "print(*sorted(f'{e.name}={e.value}' for e in found.entry_points))"
    )
    outcome = run(installed, empty, "-c", code, str(installed))
    assert outcome.out.split() == [
        "discrete-latents-eval=discrete_latents.start:start_eval",
        "discrete-latents-explore=discrete_latents.explore.command:explore_main",
        "discrete-latents-export=discrete_latents.export.command:export_main",
        "discrete-latents-search=discrete_latents.search.command:search_main",
        "discrete-latents-summarize=discrete_latents.summary.command:summarize_main",
        "discrete-latents-train=discrete_latents.start:start_train",
    ]


def test_it_trains_where_there_is_no_checkout(trained, empty):
    assert trained.code == 0, trained.err
    assert "test/nll" in trained.out
    assert (empty / "a run" / "results.json").is_file()


def test_it_evaluates_where_there_is_no_checkout(installed, empty, trained):
    script = str(installed / "bin" / "discrete-latents-eval")
    outcome = run(installed, empty, script, "run=a run", "ckpt=last")
    assert outcome.code == 0, outcome.err
    assert len(list((empty / "a run" / "evaluations").glob("*/results.json"))) == 1


def test_it_summarizes_where_there_is_no_checkout(installed, empty, trained):
    script = str(installed / "bin" / "discrete-latents-summarize")
    outcome = run(installed, empty, script, "a run", "--output", "summary")
    assert outcome.code == 0, outcome.err
    assert "<title>vae_digits" in (empty / "summary" / "summary.html").read_text()


def test_a_trained_run_is_there_at_once(installed, empty):
    code = (
        "from discrete_latents import load_run; run = load_run('vae_digits'); print(run.sample(3).shape, run.directory)"
    )
    outcome = run(installed, empty, "-c", code)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("torch.Size([3, 1, 8, 8])")
    assert str(installed) in outcome.out


def test_it_shows_how_to_search_where_there_is_no_checkout(installed, empty):
    outcome = run(installed, empty, str(installed / "bin" / "discrete-latents-search"), "--help")
    assert outcome.code == 0, outcome.err
    assert "Options of the group search: default, " in outcome.out


def test_it_lists_the_experiments(installed, empty):
    code = "from discrete_latents.cli import train_main; train_main()"
    outcome = run(installed, empty, "-c", code, "--help")
    assert outcome.code == 0, outcome.err
    assert "experiment: " in outcome.out
    assert "vae_digits" in outcome.out
