"""Which module may import which: the latent module stands alone, and imports point one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "discrete_latents"
MODULES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in MODULES]

LAYERS = [
    {"latent", "affine", "annotations", "errors", "lightning_internals", "summary", "command_line"},
    {"networks", "likelihoods", "optimization", "metrics_csv", "dashboards", "distributed"},
    {"models", "data"},
    {"callbacks"},
    {"results"},
    {"making"},
    {"building", "restoring"},
    {"training"},
    {"runs"},
    {"job"},
    {"sweep"},
    {"launch"},
    {"search"},
    {"__init__"},
]
"""From the bottom up. A module may import its own package and the layers below it; a new one is given its place."""


def layer(name: str) -> int:
    """Where a module or package below `discrete_latents` stands."""
    (place,) = (index for index, names in enumerate(LAYERS) if name in names)
    return place


def top(path: Path) -> str:
    """The name of a file's package or module directly below `discrete_latents`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """The packages and modules below `discrete_latents` that a file imports."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("discrete_latents.")}


def test_the_modules_are_found():
    assert {"latent/estimator.py", "models/categorical_vae.py", "training.py", "launch.py"} <= set(NAMES)


@pytest.mark.parametrize("path", sorted((SOURCE / "latent").glob("*.py")), ids=lambda path: path.name)
def test_the_latent_module_imports_torch_and_jaxtyping_alone(path):
    outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)
    assert outside <= {"torch", "jaxtyping", "discrete_latents"}
    assert ours(path) <= {"latent"}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_point_one_way(path):
    below = {name for names in LAYERS[: layer(top(path))] for name in names}
    assert ours(path) <= below | {top(path)}


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_objects_are_built_from_configurations_in_one_module(path):
    names = {name.split(".")[-1] for name in imported(path)}
    attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert ("instantiate" in names | attributes) == (path.name == "making.py")


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_latent_module_loads_without_lightning_and_hydra():
    code = "import sys, discrete_latents.latent; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"lightning", "hydra", "omegaconf", "torchvision", "torchmetrics", "sklearn", "wandb"} & set(loaded)
