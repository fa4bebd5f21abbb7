"""Writes results/explained.md, "What explains the published numbers", whose figures are those of results/*.json."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import mkdocs_gen_files

from scripts.reproduce.interval import half_interval
from scripts.reproduce.paired import causes
from scripts.reproduce.report import by_cell
from scripts.reproduce.table import load_table

RESULTS = Path(__file__).parents[2] / "results"

PAGE = """# What explains the published numbers

A test nll belongs to a protocol. Before two numbers are compared, these must be the same: the binarisation, m, the
number of steps, and how hyper-parameters and checkpoints were chosen. This page gives each its size in nats, where it
was measured here. Intervals are 95 %, by Student's t over seeds.

## The number of samples, m

The bound of m samples rises to log p(x) with m. How fast depends on the posterior: Concrete's linear model has loose
ones.

{samples}

Maddison et al. 2017 print m = 50,000. Set against their 107.3, m = 1000 would read as a gap that is none.

    python eval.py run=RUN_DIR eval_samples=50000 model.eval_chunk=1000 data.eval_batch_size=1

evaluates 10,000 images in one to two hours on one core, in little memory. The command goes on where it was killed,
image by image. Noise belongs to a batch, so another `data.eval_batch_size` is another draw of the same bound.

## Steps

Concrete's paper trains for 10⁷ steps of 64 images at a constant rate; NVIL, VIMCO and REBAR's code for 2·10⁶ of 24.
Jang et al. do not state a number. Runs here have {steps} steps.

## Jang's cells that are not beaten with the whole interval

{jang}

On one linear layer of 200 Bernoulli latents, three other papers report 107.3 (Concrete, m = 50,000), 107.7 (REBAR) and
107.2 (ARM) for their best estimator. Jang's 105.0 for Gumbel-Softmax is the outlier.

## One factor at a time

    python -m scripts.reproduce ablation                  # three seeds, all open cells
    python -m scripts.reproduce ablation --budget 0.1     # a tenth of the epochs
    python -m scripts.reproduce ablation --only NVIL --jobs 2

Each factor is a setting that stands alone:

| factor | setting |
|---|---|
| initial weights | `model.network.initial=torch`, `glorot` or `he` |
| checkpoint chosen by the nll of m samples | `model.val_samples=100 callbacks.checkpoint.monitor=val/nll` |
| a baseline that reads the image | `latent.reads=input`, or `input_and_output` in structured prediction |
| a learning rate of the baseline's own | `latent.baselines.network.rate=10` |
| β₂ | `+optimizer.algorithm.betas=[0.9,0.99999]` |
| weight decay | `+optimizer.algorithm.weight_decay=1e-3` |
| steps in place of epochs | `trainer.max_steps=2000000 trainer.max_epochs=-1` |
| constant rate | `lr_schedule=constant` |

{ablation}

## Differences between estimators

Runs of one seed share the order of the data. The difference between two estimators, paired by seed, varies less than
either.

{paired}
"""


def read(name: str) -> list[dict[str, Any]]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else []


def with_interval(values: list[float]) -> str:
    interval = half_interval(values)
    return f"{mean(values):.2f}" + ("" if interval is None else f" ± {interval:.2f}")


def samples() -> str:
    """Linear Concrete at both m, and the difference of each run."""
    runs = read("concrete_m50000")
    few, many = ([run["nll"][m] for run in runs] for m in ("1000", "50000"))
    fallen = [one - other for one, other in zip(few, many, strict=True)]
    return (
        "| linear Concrete, trained with one sample | m = 1000 | m = 50,000 | difference | paper, m = 50,000 |\n"
        "|---|---|---|---|---|\n"
        f"| {len(runs)} seeds, {runs[0]['images']:,} images | {with_interval(few)} | {with_interval(many)} "
        f"| {with_interval(fallen)} | 107.3 |"
    )


def steps() -> str:
    counts = sorted({run["steps"] for name in ("concrete_table", "jang_table1") for run in read(name)})
    return f"{counts[0]:,} to {counts[-1]:,}"


def jang() -> str:
    """The cells that are worse than the paper's."""
    lines = ["| open cell | ours | paper | gap |", "|---|---|---|---|"]
    for (row, column), runs in by_cell(read("jang_table1")).items():
        values, published = [run["value"] for run in runs], runs[0]["published"]
        interval = half_interval(values)
        if mean(values) + (interval or 0.0) > published:
            gap = mean(values) - published
            lines.append(f"| {row}, {column} | {with_interval(values)} | {published:.1f} | {gap:+.1f} |")
    return "\n".join(lines)


def ablation() -> str:
    found = read("ablation")
    if not found:
        return "The ablation's runs are not in `results/` yet."
    return causes(load_table("ablation"), by_cell(found))


def paired() -> str:
    names = ("jang_table1", "concrete_table")
    return "\n".join(f"**{load_table(name).title}**\n\n{(RESULTS / f'{name}_paired.md').read_text()}" for name in names)


def page() -> str:
    return PAGE.format(samples=samples(), steps=steps(), jang=jang(), ablation=ablation(), paired=paired())


with mkdocs_gen_files.open("results/explained.md", "w") as file:
    file.write(page())
