"""From the shell to the first optimiser step of train.py, and where the time goes. `benchmark.py` starts it.

python benchmark_startup.py STARTED PATH SETTINGS…    # STARTED as time.monotonic() has it; JSON goes to PATH
"""

import importlib
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def main() -> None:
    started, path, *settings = sys.argv[1:]
    begun = time.monotonic()
    importlib.import_module("discrete_latents.cli")  # all that train.py imports
    from discrete_latents import cli
    from discrete_latents.training import train as training

    marks = {"python": begun, "imports": time.monotonic()}

    def mark(name: str, function: Callable[..., Any], after: bool = True) -> Callable[..., Any]:
        """A function that notes when it was called, or came back."""

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
    step = Path(path).with_suffix(".step")
    step.unlink(missing_ok=True)
    callback = {"_target_": "benchmark_callbacks.FirstStep", "path": step.absolute()}
    sys.argv = [str(TRAIN), *settings, *(f"+callbacks.first.{key}={value}" for key, value in callback.items())]
    runpy.run_path(str(TRAIN), run_name="__main__")
    marks["first_step"] = float(step.read_text())
    parts, last = {}, float(started)
    for name, moment in sorted(marks.items(), key=lambda mark: mark[1]):
        parts[name], last = moment - last, moment
    Path(path).write_text(json.dumps({"parts": parts, "first_step": last - float(started)}))


if __name__ == "__main__":
    main()
