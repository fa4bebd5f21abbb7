"""The files of a measurement: its numbers, a table and a figure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def save_figure(path: Path, figure: Figure | None = None) -> None:
    """Saves a figure as a PNG, and as a PDF beside it. None: pyplot's, which is closed."""
    shown = figure or plt.gcf()
    for file in (path, path.with_suffix(".pdf")):
        shown.savefig(file, dpi=150, bbox_inches="tight", metadata={"CreationDate": None} if file != path else None)
    if figure is None:
        plt.close()


def write_report(folder: Path, name: str, data: Any, table: str, figure: Callable[[Path], None] | None = None) -> None:
    """Writes NAME.json, NAME.md and, if there is a figure, NAME.png and NAME.pdf. Prints the table and the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    paths[0].write_text(json.dumps(data, indent=2) + "\n")
    paths[1].write_text(table)
    if figure is not None:
        paths.append(folder / f"{name}.png")
        figure(paths[-1])
    print(table, *paths, sep="\n")
