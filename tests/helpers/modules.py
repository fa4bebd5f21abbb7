"""Commands as a user calls them: `python -m NAME …` in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(*paths: Path) -> dict[str, str]:
    """The environment of a command that may be called from any folder. paths: further folders to import from."""
    found = [*map(str, (ROOT, *paths)), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(found)}


def command(name: str, *words: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, words)]


def run_module(
    name: str, *words: object, cwd: Path, paths: tuple[Path, ...] = (), timeout: float = 550
) -> subprocess.CompletedProcess[str]:
    """What `python -m NAME …` did in a folder."""
    variables = environment(*paths)
    return subprocess.run(
        command(name, *words), cwd=cwd, env=variables, capture_output=True, text=True, timeout=timeout
    )
