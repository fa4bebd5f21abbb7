"""The report of a run: its figures, learning curves, pictures through training, configuration, and how to go on."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.printed_command import command, program, setting
from discrete_latents.report.charts import charts, curves_of
from discrete_latents.report.look import render_page
from discrete_latents.report.pictures import embedded
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.files import read_table
from discrete_latents.runs.images import drawn_epochs
from discrete_latents.runs.metrics import metric, position
from discrete_latents.runs.results_table import meaning
from discrete_latents.secrecy import masked

HERE = Path(__file__).parent
FRAMES = 12
"""At most, of a picture through training."""


def write_run_report(run: RunDirectory) -> Path:
    """Writes `report.html` from the files of a run, whatever of them is there, and returns its path.

    That of an evaluation has the evaluation's figures and pictures, and the curves and configuration of its run. The
    page runs its own script alone, named by its hash, and can load nothing.
    """
    results, home = run.read_results(), run.home
    page = render_page(
        HERE / "run.html.jinja",
        [HERE / name for name in ("charts.js", "enlarge.js", "run.js")],
        data={"charts": drawn(home)},
        title=" · ".join(str(results[key]) for key in ("experiment", "latent") if results.get(key)) or run.folder.name,
        folder=str(run),
        metrics=figures(results),
        facts={key: results[key] for key in ("seed", "eval_samples", "epochs", "steps", "seconds") if key in results},
        pictures=frames(run),
        config=settings_text(home),
        commands={
            "Test it again": command(*program("eval"), setting("run", home)),
            "Train it further": command(
                *program("train"), setting("resume", home), f"trainer.max_epochs={2 * results.get('epochs', 100)}"
            ),
        },
    )
    atomic_write(run.report, page)
    return run.report


def figures(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value, and meaning with the unit, of each tested metric."""
    return [
        (name, metric(name).text(value), meaning(name, results.get("eval_samples", 1)))
        for name, value in sorted((results.get("metrics") or {}).items(), key=lambda item: position(item[0]))
        if value is not None
    ]


def drawn(run: RunDirectory) -> list[dict[str, Any]]:
    return charts(curves_of(read_table(run.metrics))) if run.metrics.exists() else []


def frames(run: RunDirectory) -> dict[str, list[tuple[str, str]]]:
    """By name, the frames of each picture: when it was drawn, and its data URI; the last is of the end."""
    found: dict[str, list[tuple[str, str]]] = {}
    for epoch, folder in some(drawn_epochs(run.images)):
        for file in sorted(folder.glob("*.png")):
            if (uri := embedded(file, run.folder)) is not None:
                found.setdefault(file.stem, []).append((f"epoch {epoch}", uri))
    for file in sorted(run.images.glob("*.png")):
        if (uri := embedded(file, run.folder)) is not None:
            found.setdefault(file.stem, []).append(("at the end", uri))
    return found


def some(epochs: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """At most `FRAMES` of them, evenly spread, the first and the last included."""
    if len(epochs) <= FRAMES:
        return epochs
    return [epochs[round(i * (len(epochs) - 1) / (FRAMES - 1))] for i in range(FRAMES)]


def settings_text(run: RunDirectory) -> str:
    """The saved configuration as YAML, without secrets; empty where none was saved."""
    if not run.config.is_file():
        return ""
    return OmegaConf.to_yaml(OmegaConf.create(masked(OmegaConf.to_container(run.read_config()))))
