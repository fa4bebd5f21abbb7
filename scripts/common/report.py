"""What the scripts that measure share: a timed step, and the files they leave."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def timed_step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> float:
    """Seconds that a whole training step takes: loss, backward, optimiser."""
    started = time.perf_counter()
    value = loss()
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return time.perf_counter() - started


def write_report(folder: Path, name: str, data: Any, table: str, figure: Callable[[Path], None] | None = None) -> None:
    """Writes NAME.json, NAME.md and, where there is one, NAME.png, and prints the table and the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(data, indent=2) + "\n")
    paths[1].write_text(table)
    if figure is not None:
        paths.append(folder / f"{name}.png")
        figure(paths[-1])
    print(table, *paths, sep="\n")
