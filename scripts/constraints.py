"""Writes constraints/tested.txt and constraints/lowest.txt, for `pip install -c`.

    python -m scripts.constraints

tested: the versions in this environment of all that the extras need; run it where the tests have passed.
lowest: the lower bounds of pyproject.toml. Neither names a host.
"""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from discrete_latents.config.command_parser import CommandParser

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "constraints"
OWN = "discrete-latents"
PLATFORM = re.compile(r"nvidia-|cuda-|triton$")
"""Of one platform's torch, which names its own versions of them."""


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for, in all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [found for found in map(Requirement, lines) if canonicalize_name(found.name) != OWN]


def lowest() -> list[str]:
    """The lower bound of each, "name==version"."""
    bounds = {}
    for found in requirements():
        versions = [one.version for one in found.specifier if one.operator in (">=", "==", "~=")]
        assert len(versions) == 1, f"{found} has no lower bound"
        bounds[canonicalize_name(found.name)] = versions[0]
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


def tested() -> list[str]:
    """The installed version of each, and of what it needs in turn, "name==version"."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(each.name, frozenset(each.extras)) for each in requirements()]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:  # an extra that is not installed here, or of another platform
            continue
        if not PLATFORM.match(canonicalize_name(name)):
            found[canonicalize_name(name)] = package.version.partition("+")[0]
        waiting += [(each.name, frozenset(each.extras)) for each in needed(package.requires or (), extras)]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def needed(lines: Iterable[str], extras: frozenset[str]) -> list[Requirement]:
    """The requirements that hold here, with these extras."""
    parsed = map(Requirement, lines)
    return [
        each
        for each in parsed
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
    ]


def main() -> None:
    CommandParser(__doc__).parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name, versions in (("tested", tested()), ("lowest", lowest())):
        path = FOLDER / f"{name}.txt"
        path.write_text("\n".join(["# Written by python -m scripts.constraints.", *versions, ""]), encoding="utf-8")
        print(path.relative_to(ROOT), len(versions))


if __name__ == "__main__":
    main()
