"""The commit of this package's source, and of no other repository around it."""

import os
import re
import subprocess
from pathlib import Path

FROM_CHECKOUT = Path("src", "discrete_latents", "runs", "source_commit.py")
"""This file, from the top of a checkout."""


def source_commit(file: Path = Path(__file__)) -> str | None:
    """The commit of the checkout that this file is part of, with + if tracked files have changed.

    None where it is part of none: installed, even into a folder below some repository; in a repository that does not
    track it; without git, or where git refuses the repository. Git's own variables (GIT_DIR, …) have no effect, and the
    configuration of a repository that is not this one starts no command.
    """
    file = file.resolve()
    checkout = file.parents[len(FROM_CHECKOUT.parts) - 1]
    try:
        if file != checkout / FROM_CHECKOUT or not checkout.samefile(git(checkout, "rev-parse", "--show-toplevel")):
            return None
        git(checkout, "ls-files", "--error-unmatch", "--", str(FROM_CHECKOUT))
        commit = git(checkout, "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return commit if re.fullmatch(r"[0-9a-f]{12,}\+?", commit) else None


def git(folder: Path, *words: str) -> str:
    """What git prints. Raises OSError, ValueError or SubprocessError where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.removesuffix("\n")
