"""Compares estimators and quantisers on one image tokeniser, one network and one budget.

    python -m scripts.tokenizer                                    # three seeds, K = 512 and 8,192
    python -m scripts.tokenizer --latents fsq gumbel_softmax,beta.start=1 --codes 512 --seeds 1 trainer.max_epochs=2
    python -m scripts.tokenizer --only-report

Each cell is a run of an experiment and a run of experiment=code_prior on its codes. Runs that are stopped are resumed
by the same command, and completed ones are not repeated.
"""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from discrete_latents.config.command_parser import CommandParser, whole_number
from discrete_latents.config.compose import group_options
from discrete_latents.errors import fail

REVIVED = "gumbel_softmax,model.revive_every=50"
"""For large codebooks."""
LATENTS = ["gumbel_softmax", "st_gumbel", "reinmax", REVIVED, f"{REVIVED},beta.start=1", "vq", "fsq", "lfq"]
METRICS = {
    "code_usage": ("usage", "{:.1%}"),
    "perplexity": ("perplexity", "{:.0f}"),
    "kl": ("rate, nats", "{:.0f}"),
    "psnr": ("PSNR, dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "bits_per_dim": ("bits/dim", "{:.3f}"),
    "bits_per_image": ("bits under the prior", "{:.0f}"),
    "milliseconds": ("step, ms", "{:.0f}"),
}
"""Columns: of a metric its heading and format."""

Cell = tuple[str, int, int]
"""An option of `latent` with further settings after commas, K and a seed."""


def main() -> None:
    parser = CommandParser(__doc__)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="key=value", help="further settings of the tokenisers")
    add("--latents", nargs="+", type=latent, default=LATENTS, metavar="LATENT[,key=value]", help="options of latent")
    add("--codes", nargs="+", type=whole_number(2), default=[512, 8192], metavar="K", help="sizes of the codebook")
    add("--seeds", type=whole_number(), default=3, help="number of seeds, from 0")
    add("--experiment", default="tokenizer_patches", help="option of experiment")
    add("--prior-epochs", type=whole_number(), default=20, help="of experiment=code_prior")
    add("--runs", type=Path, default=Path("logs/tokenizer"), help="folder of the runs")
    add("--output", type=Path, default=Path("results"), help="folder of the report")
    add("--only-report", action="store_true", help="train nothing, and report what is completed")
    compare(parser.parse_intermixed_args())


def latent(text: str) -> str:
    """An option of `latent`, with settings. Raises ArgumentTypeError for what is none."""
    name, *settings = text.split(",")
    if name not in (names := group_options()["latent"]):
        raise ArgumentTypeError(f"must be one of {', '.join(names)}, got {name!r}")
    if wrong := [each for each in settings if "=" not in each]:
        raise ArgumentTypeError(f"must have key=value after a comma, got {wrong[0]!r}")
    return text


def compare(arguments: Namespace) -> None:
    """Trains the cells and writes the report. Ends with exit code 1 if a run failed."""
    cells = [(name, k, seed) for seed in range(arguments.seeds) for k in arguments.codes for name in arguments.latents]
    found = {cell: measured(cell, arguments) for cell in cells}
    rows = [row for row in found.values() if row is not None]
    if rows:
        from scripts.common.report import write_report

        write_report(arguments.output, "tokenizer", rows, table(rows), lambda path: figure(rows, path))
    if failed := [" ".join(map(str, cell)) for cell, row in found.items() if row is None]:
        fail(f"{'missing' if arguments.only_report else 'failed'}: {', '.join(failed)}")


def measured(cell: Cell, arguments: Namespace) -> dict[str, Any] | None:
    """The row of a cell; None where one of its two runs is not completed."""
    latent, codes, seed = cell
    name, *own = latent.split(",")
    folder = (arguments.runs / f"{latent.translate(str.maketrans(',=', '__'))}_{codes}_{seed}").absolute()
    chosen = [f"experiment={arguments.experiment}", f"latent={name}", f"model.num_classes={codes}", f"seed={seed}"]
    prior = folder.with_name(f"{folder.name}_prior")
    second = ["experiment=code_prior", f"tokenizer={folder}", f"seed={seed}"]
    second.append(f"trainer.max_epochs={arguments.prior_epochs}")
    first = run([*chosen, *arguments.overrides, *own], folder, arguments.only_report)
    bits = first and run(second, prior, arguments.only_report)
    if first is None or bits is None:
        return None
    metrics = {name.partition("/")[2]: value for name, value in first["metrics"].items()}
    metrics["bits_per_image"] = bits["metrics"]["test/bits_per_image"]
    metrics["milliseconds"] = step_milliseconds(folder)
    kept = {name: first[name] for name in ("epochs", "steps", "seconds", "parameters", "versions")}
    return {"latent": latent, "codes": codes, "seed": seed, "metrics": metrics, **kept}


def run(overrides: Sequence[str], folder: Path, only_report: bool) -> dict[str, Any] | None:
    from scripts.common.training_run import completed_results, completed_run

    return completed_results(folder) if only_report else completed_run(overrides, folder, quiet=True)


def step_milliseconds(folder: Path) -> float:
    """The fastest of ten training steps of a run's model: loss, gradient and update, one thread."""
    import torch

    from discrete_latents.api import load_run
    from discrete_latents.process import prepare_process
    from scripts.common.step_time import timed_step

    prepare_process()
    torch.set_num_threads(1)
    run = load_run(folder)
    model = run.model.train()
    optimizer = model.configure_optimizers()
    x = torch.randint(256, (run.config.data.batch_size, *model.mean_image.shape)) / 255
    return 1000 * min(timed_step(lambda: model.training_loss((x, x))[0], optimizer) for _ in range(10))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the seeds of a cell, with their standard deviations, and the budget above."""
    steps = sorted({row["steps"] for row in rows})
    minutes = mean(row["seconds"] for row in rows) / 60
    cells = by_cell(rows)
    seeds = sorted({len(of_cell) for of_cell in cells.values()})
    lines = [
        f"{', '.join(f'{step:,}' for step in steps)} steps of each run, {minutes:.1f} minutes on average; "
        f"{' or '.join(map(str, seeds))} seeds. Test images. The rate of a quantiser is that of a uniform code. "
        "A step's time is of one thread, the fastest of ten for each seed.",
        "",
        f"| `latent=` | K | {' | '.join(heading for heading, _ in METRICS.values())} |",
        f"|---|---|{'---|' * len(METRICS)}",
    ]
    for (latent, codes), of_cell in cells.items():
        of_seeds = {name: [metrics[name] for metrics in of_cell] for name in METRICS}
        of_seeds["milliseconds"] = [min(of_seeds["milliseconds"])]
        shown = [spread(of_seeds[name], form) for name, (_, form) in METRICS.items()]
        name, *own = latent.split(",")
        lines.append(f"| {', '.join(f'`{each}`' for each in (name, *own))} | {codes:,} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def by_cell(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, float]]]:
    """The metrics of each seed, by latent and K."""
    cells: dict[tuple[str, int], list[dict[str, float]]] = {}
    for row in rows:
        cells.setdefault((row["latent"], row["codes"]), []).append(row["metrics"])
    return cells


def spread(values: Sequence[float], form: str) -> str:
    centre = form.format(mean(values))
    return centre if len(values) < 2 else f"{centre} ± {form.format(stdev(values))}"


def figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Rate and distortion: of every run, small, and their mean, with a name."""
    from matplotlib.figure import Figure

    from scripts.common.labels import label_points
    from scripts.common.report import save_figure

    drawn = Figure(figsize=(6, 4))
    axes = drawn.subplots()
    several = len({row["codes"] for row in rows}) > 1
    every, means = [], {}
    for (latent, codes), of_cell in by_cell(rows).items():
        points = [(metrics["kl"], metrics["mse"]) for metrics in of_cell]
        every += points
        rate, distortion = (mean(column) for column in zip(*points, strict=True))
        means[f"{latent}, K = {codes:,}" if several else latent] = rate, distortion
    axes.plot(*zip(*every, strict=True), "o", ms=3, color="#3f86c8", alpha=0.4)
    axes.plot(*zip(*means.values(), strict=True), "o", ms=6, color="#3f86c8")
    axes.set(xlabel="rate, nats an image", ylabel="distortion, mean squared error")
    axes.margins(x=0.2, y=0.1)
    label_points(axes, means, every, size=9)
    save_figure(path, drawn)


if __name__ == "__main__":
    main()
