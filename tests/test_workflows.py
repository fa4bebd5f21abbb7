"""Workflows, Dockerfile and devcontainer name only what exists: files, targets, commands, modules, Python versions."""

import ast
import itertools
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLES = {"PYTHON", "CONSTRAINTS"}
MATRIX = re.compile(r"\$\{\{ *matrix\.(\w+) *\}\}")


def unknown(line: str) -> str | None:
    """What a command line names that does not exist here."""
    words = shlex.split(line, comments=True)
    name = words[0].removeprefix(".venv/bin/")
    if name == "make":
        targets = [word for word in words[1:] if "=" not in word]
        given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if not given.keys() <= VARIABLES or ("CONSTRAINTS" in given and not (ROOT / given["CONSTRAINTS"]).is_file()):
            return str(given)
        return next((target for target in targets if target not in TARGETS), None)
    if name == "python" and words[1] == "-c":
        ast.parse(words[2])
        return None
    if name == "python" and words[1] == "-m":
        return None if words[2] == "pip" or find_spec(words[2]) else words[2]
    if name == "python":
        return None if (ROOT / words[1]).is_file() else words[1]
    return None if name in PROJECT["scripts"] else name


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.stem}: {name}", job


def lines(job: dict[str, Any]) -> Iterator[str]:
    """Each command line of a job, for each combination of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    for values in itertools.product(*matrix.values()):
        chosen = dict(zip(matrix, values, strict=True))
        for step in job["steps"]:
            for line in step.get("run", "").splitlines():
                yield MATRIX.sub(lambda found: chosen[found[1]], line)  # noqa: B023


@pytest.mark.parametrize("job", [job for _, job in jobs()], ids=[name for name, _ in jobs()])
def test_a_job_names_what_exists(job: dict[str, Any]):
    assert "runs-on" in job
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    said = list(lines(job))
    assert said
    assert [line for line in said if unknown(line)] == []


def test_every_python_that_the_project_allows_is_tried():
    allowed = SpecifierSet(PROJECT["requires-python"])
    tried = [version for _, job in jobs() for version in job.get("strategy", {}).get("matrix", {}).get("python", [])]
    assert tried == [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]


def test_every_file_of_versions_is_tried():
    tried = [path for _, job in jobs() for path in job.get("strategy", {}).get("matrix", {}).get("constraints", [])]
    assert tried == [str(path.relative_to(ROOT)) for path in sorted((ROOT / "constraints").glob("*.txt"))]


def test_the_commands_of_the_container_exist():
    instructions = dict(re.findall(r"^(FROM|WORKDIR|COPY|CMD) (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    version = re.fullmatch(r"python:(3\.\d+)-slim", instructions["FROM"])
    assert version
    assert version[1] in SpecifierSet(PROJECT["requires-python"])
    runs = re.findall(r"^RUN (make .*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    said = [*runs, " ".join(json.loads(instructions["CMD"])), container["postCreateCommand"]]
    assert [line for line in said if unknown(line)] == []
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert ".venv" in (ROOT / ".dockerignore").read_text().splitlines()  # it holds paths of where it was made


@pytest.mark.parametrize(
    "line",
    [
        "make tests",
        "make test CONSTRAINTS=constraints/none.txt",
        "make test PYTHN=python",
        "python trian.py",
        "python -m scripts.none",
        "discrete-latents-explor vae_digits",
        "pip install .",
    ],
)
def test_what_does_not_exist_is_found(line: str):
    assert unknown(line)
