"""Writes reference/metrics.md from `discrete_latents.runs.metrics`."""

import mkdocs_gen_files

from discrete_latents.runs.metrics import METRICS

INTRODUCTION = """# Metrics

A logged name is a split and a metric: `test/nll`, `val/nelbo`, `train/relaxed_nelbo`. Whatever trained a model, `val/`
and `test/` are measured with **hard one-hot samples**.

- `nelbo`: the negative bound of one sample, in nats.
- `nll`: the negative bound of m samples, −log of the mean weight, with m = `eval_samples`. Say which m: it decides
  rankings.
- `relaxed_nelbo`: the bound of soft samples that training saw. It belongs to another model than the one you sample
  from.

| metric | meaning | unit | better |
|---|---|---|---|
"""

with mkdocs_gen_files.open("reference/metrics.md", "w") as file:
    rows = (f"| `{metric.name}` | {metric.meaning} | {metric.unit} | {metric.better or ''} |\n" for metric in METRICS)
    file.write(INTRODUCTION + "".join(rows))
