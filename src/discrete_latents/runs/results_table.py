"""What a run says at its end: a short table and the paths of what it wrote."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from discrete_latents.console import console
from discrete_latents.errors import one_line


def show(results: Mapping[str, Any], folder: Path, here: Path) -> None:
    """Prints the results of a run, and what is in its folder, relative to `here`."""
    out = console()
    data = results["data"]
    out.print()
    table = Table(title=f"{results['experiment']} · {results['latent']} · {data['name']}, {data['binarization']}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("")
    for name, meaning in meanings(results["eval_samples"]).items():
        for key, value in results["metrics"].items():
            if key.split("/")[-1] == name:
                table.add_row(key, f"{value:.1%}" if name in ("code_usage", "accuracy") else f"{value:.2f}", meaning)
    if "train_images_per_second" in results:
        table.add_row("images per second", f"{results['train_images_per_second']:,.0f}", "training steps alone")
        table.add_row("seconds", f"{results['seconds']:.0f}", f"{results['epochs']} epochs, {results['steps']} steps")
    out.print(table)
    for path in written(folder, here):
        out.print(one_line(str(path)), soft_wrap=True)


def show_sweep(title: str, jobs: Sequence[tuple[int, str, Mapping[str, Any], str]]) -> None:
    """Prints the jobs of a sweep: the number, what it varies, results and status of each."""
    metrics = {"nll": "{:.2f}", "nelbo": "{:.2f}", "accuracy": "{:.1%}"}
    shown = [name for name in metrics if any(f"test/{name}" in job[2].get("metrics", {}) for job in jobs)]
    table = Table(title=one_line(title))
    table.add_column("job", justify="right")
    table.add_column("settings")
    for name in shown:
        table.add_column(name, justify="right")
    table.add_column("status")
    for number, settings, results, status in jobs:
        values = {name: results.get("metrics", {}).get(f"test/{name}") for name in shown}
        cells = ["" if value is None else metrics[name].format(value) for name, value in values.items()]
        table.add_row(str(number), one_line(settings), *cells, status)
    out = console()
    out.print()
    out.print(table)


def meanings(eval_samples: int) -> dict[str, str]:
    """What each metric is, in the order shown; nats an image, on hard samples where nothing else is said."""
    return {
        "nelbo": "nats, m = 1",
        "nll": f"nats, m = {eval_samples}",
        "relaxed_nelbo": "nats, soft samples, as trained",
        "reconstruction": "nats",
        "kl": "nats, categorical",
        "accuracy": "",
        "code_usage": "of the classes",
        "perplexity": "classes a latent",
    }


def written(folder: Path, here: Path) -> list[Path]:
    """The files and folders of a run that a person opens, relative to where the command was run if they can be."""
    names = ("results.json", "metrics.csv", "images", "checkpoints")
    paths = [folder / name for name in names if (folder / name).exists()]
    images = [image for path in paths if path.is_dir() for image in sorted(path.glob("*.png"))]
    paths = [path for path in paths if path.name != "images"] + images
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in paths]
