"""Seconds from the shell to the first optimiser step of train.py, by part.

The benchmark starts it: python -m scripts.benchmark.startup PATH SETTINGS. SETTINGS is JSON: `started`, the start on
the clock of time.monotonic, and `overrides` of train.py. The result goes to PATH as JSON.
"""

import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.common.paths import TRAIN


def main() -> None:
    path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    begun = time.monotonic()
    importlib.import_module("discrete_latents.cli")  # all that train.py imports
    from discrete_latents import cli
    from discrete_latents.training import train as training

    marks = {"python": begun, "imports": time.monotonic()}

    def mark(name: str, function: Callable[..., Any], after: bool = True) -> Callable[..., Any]:
        """A function that records when it was called, or returned."""

        def marked(*arguments: Any, **named: Any) -> Any:
            if not after:
                marks[name] = time.monotonic()
            result = function(*arguments, **named)
            if after:
                marks[name] = time.monotonic()
            return result

        return marked

    cli.train = mark("configuration", cli.train, after=False)
    training.build_data = mark("data", training.build_data)
    training.build_model = mark("model", training.build_model)
    training.build_trainer = mark("trainer", training.build_trainer)
    step = path.with_suffix(".step")
    step.unlink(missing_ok=True)
    callback = {"_target_": "scripts.benchmark.callbacks.FirstStep", "path": step.absolute()}
    sys.argv = [str(TRAIN), *settings["overrides"], *(f"+callbacks.first.{key}={v}" for key, v in callback.items())]
    runpy.run_path(str(TRAIN), run_name="__main__")
    marks["first_step"] = float(step.read_text())
    parts, last = {}, settings["started"]
    for name, moment in sorted(marks.items(), key=lambda mark: mark[1]):
        parts[name], last = moment - last, moment
    path.write_text(json.dumps({"parts": parts, "first_step": last - settings["started"]}))


if __name__ == "__main__":
    main()
