"""The files of versions: what pyproject.toml asks for, and no host."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import constraints
from scripts.constraints import FOLDER, lowest, needed, requirements


def pinned(name: str) -> dict[str, str]:
    lines = [line for line in (FOLDER / f"{name}.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)  # no host, no path, no flag
    return dict(line.split("==") for line in lines)


def test_the_lowest_versions_are_those_of_pyproject():
    assert [f"{name}=={version}" for name, version in pinned("lowest").items()] == lowest()


def test_the_tested_versions_are_allowed_and_name_all_that_is_installed():
    versions = pinned("tested")
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name not in versions:
            assert name == "huggingface-hub", f"{name} is in no file of tested versions: python -m scripts.constraints"
        else:
            assert requirement.specifier.contains(versions[name]), f"{requirement}: {versions[name]}"


def test_what_is_installed_here_is_found_with_what_it_needs():
    names = {line.split("==")[0] for line in constraints.tested()}
    assert {"torch", "numpy", "hydra-core", "antlr4-python3-runtime"} <= names
    assert not {"discrete-latents", "pip"} & names


@pytest.mark.parametrize(("extras", "count"), [(frozenset(), 1), (frozenset({"a"}), 2), (frozenset({"b"}), 1)])
def test_extras_bring_their_requirements(extras: frozenset[str], count: int):
    lines = ["one>=1", "two; extra == 'a'", "three; python_version < '3'"]
    assert needed(lines, extras) == [Requirement(line) for line in lines[:count]]
