"""The commit in results.json is that of this package's source, or none: never that of another repository."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from discrete_latents.runs.source_commit import FROM_CHECKOUT, source_commit

AUTHOR = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
INSTALLED = Path("venv", "lib", "python3", "site-packages", *FROM_CHECKOUT.parts[1:])


def git(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *AUTHOR, *words], cwd=folder, env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


def repository(folder: Path, *tracked: Path) -> str:
    """A repository of a commit of these files and one more. Returns its commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    for path in (Path("other.txt"), *tracked):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("content")
        git(folder, "add", "-f", str(path))
    git(folder, "commit", "-q", "-m", folder.name)
    return git(folder, "rev-parse", "HEAD")[:12]


@pytest.fixture
def checkout(tmp_path) -> tuple[Path, str]:
    """This project's checkout and its commit."""
    return tmp_path / "project", repository(tmp_path / "project", FROM_CHECKOUT)


@pytest.fixture
def foreign(tmp_path) -> Path:
    """The repository of another project."""
    repository(tmp_path / "foreign")
    return tmp_path / "foreign"


def test_a_checkout_has_its_commit(checkout):
    assert source_commit(checkout[0] / FROM_CHECKOUT) == checkout[1]


def test_a_change_of_a_tracked_file_is_shown(checkout):
    (checkout[0] / "other.txt").write_text("changed")
    assert source_commit(checkout[0] / FROM_CHECKOUT) == f"{checkout[1]}+"


def test_a_checkout_below_another_repository_has_its_own_commit(foreign):
    commit = repository(foreign / "inner", FROM_CHECKOUT)
    assert source_commit(foreign / "inner" / FROM_CHECKOUT) == commit


def test_a_worktree_and_a_link_have_the_commit(checkout, tmp_path):
    git(checkout[0], "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    assert source_commit(tmp_path / "link" / FROM_CHECKOUT) == checkout[1]


@pytest.mark.parametrize("path", [INSTALLED, FROM_CHECKOUT, Path("vendored") / FROM_CHECKOUT], ids=str)
def test_a_file_that_a_repository_does_not_track_has_none(foreign, path):
    (foreign / path).parent.mkdir(parents=True)
    (foreign / path).touch()
    assert source_commit(foreign / path) is None


@pytest.mark.parametrize("path", [INSTALLED, Path("vendored") / FROM_CHECKOUT], ids=str)
def test_a_copy_that_another_repository_tracks_has_none(foreign, path):
    repository(foreign, path)
    assert source_commit(foreign / path) is None


def test_what_is_installed_below_its_own_checkout_has_none(checkout):
    installed = checkout[0] / INSTALLED
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert source_commit(installed) is None


def test_no_repository_has_none(tmp_path):
    assert source_commit(tmp_path / FROM_CHECKOUT) is None


def test_a_repository_without_a_commit_has_none(tmp_path):
    (tmp_path / FROM_CHECKOUT).parent.mkdir(parents=True)
    (tmp_path / FROM_CHECKOUT).touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert source_commit(tmp_path / FROM_CHECKOUT) is None


VARIABLES: dict[str, Callable[[Path], str]] = {
    "GIT_DIR": lambda foreign: str(foreign / ".git"),
    "GIT_WORK_TREE": str,
    "GIT_INDEX_FILE": lambda foreign: str(foreign / ".git" / "index"),
    "GIT_COMMON_DIR": lambda foreign: str(foreign / ".git"),
    "GIT_OBJECT_DIRECTORY": lambda foreign: str(foreign / ".git" / "objects"),
    "GIT_NAMESPACE": lambda _: "other",
    "GIT_CEILING_DIRECTORIES": lambda foreign: str(foreign.parent / "project"),
    "GIT_PREFIX": lambda _: "src/",
    "GIT_TRACE": lambda _: "1",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_of_a_hook_names_another_repository(monkeypatch, checkout, foreign, name):
    monkeypatch.setenv(name, VARIABLES[name](foreign))
    assert source_commit(checkout[0] / FROM_CHECKOUT) == checkout[1]
    assert source_commit(foreign / FROM_CHECKOUT) is None


@pytest.mark.parametrize(
    "script", ["exit 1", "echo a fatal message", "echo", "printf 'v1.2-3-gabc'", "echo /", "kill -9 $$"]
)
def test_another_program_named_git_gives_none(monkeypatch, checkout, tmp_path, script):
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert source_commit(checkout[0] / FROM_CHECKOUT) is None


def test_without_git_there_is_none(monkeypatch, checkout, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_commit(checkout[0] / FROM_CHECKOUT) is None


def test_a_repository_of_somebody_else_gives_none(monkeypatch, checkout):
    """Which git refuses, as its owner is another."""
    environment = dict(os.environ)
    real = subprocess.run

    def run(command, env, **settings):
        return real(command, env=env | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}, **settings)

    monkeypatch.setattr(subprocess, "run", run)
    assert source_commit(checkout[0] / FROM_CHECKOUT) is None
    assert dict(os.environ) == environment


def test_the_configuration_of_another_repository_runs_nothing(foreign, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    hook.chmod(0o755)
    repository(foreign, INSTALLED)
    for name in ("core.fsmonitor", "filter.any.clean", "diff.external", "core.pager", "core.editor"):
        git(foreign, "config", name, str(hook))
    (foreign / ".gitattributes").write_text("* filter=any\n")
    (foreign / "other.txt").write_text("changed")
    assert source_commit(foreign / INSTALLED) is None
    assert not (tmp_path / "ran").exists()
