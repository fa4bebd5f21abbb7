"""Where the time of one of our training steps goes, without Lightning.

The benchmark starts it: python -m scripts.benchmark.parts PATH SETTINGS. SETTINGS is JSON: `data`, `cases` and `steps`.
The result goes to PATH as JSON: by case, milliseconds of each part, medians; of the matrix products alone and of the
optimiser's kernel, by torch's profiler; and the operations of a step.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from discrete_latents.config.compose import composed
from discrete_latents.data import ImageData
from discrete_latents.models import LatentModel
from discrete_latents.training.build import build_data, build_model
from scripts.benchmark.cases import CASES, Case
from scripts.benchmark.contenders import threads

PRODUCTS = {"aten::mm", "aten::addmm", "mkldnn::_linear_pointwise"}


def parts(case: Case, data_dir: str, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    config = composed([*case.settings(), f"paths.data_dir={data_dir}", "paths.output_dir=."])
    data = build_data(config)
    model = build_model(config, data)
    assert isinstance(model, LatentModel)
    assert isinstance(data, ImageData)
    optimizer = model.optimization.optimizer(model.parameters())
    epoch: Iterator[Any] = iter(())
    step = 0

    def moments() -> list[float]:
        """Makes a step; the moments at which its parts begin and end."""
        nonlocal epoch, step
        begun = time.perf_counter()
        batch = next(epoch, None)
        if batch is None:
            epoch = iter(data.batches("train", case.batch, shuffled=True))
            batch = next(epoch)
        found = [begun, time.perf_counter()]
        if model.estimator.temperature is not None:
            model.estimator.temperature.update(step)
        loss, _ = model.training_loss(batch)
        found.append(time.perf_counter())
        optimizer.zero_grad()
        loss.backward()
        found.append(time.perf_counter())
        optimizer.step()
        found.append(time.perf_counter())
        step += 1
        return found

    for _ in range(steps // 5):
        moments()
    taken = [moments() for _ in range(steps)]
    names = ("batch", "loss", "backward", "optimiser")
    result = {name: 1e3 * median(row[i + 1] - row[i] for row in taken) for i, name in enumerate(names)}
    result["whole"] = 1e3 * median(row[-1] - row[0] for row in taken)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(20):
            moments()
    events = profiled.key_averages()
    result["of it products"] = sum(e.self_cpu_time_total for e in events if e.key in PRODUCTS) / 20e3
    result["of it Adam's kernel"] = sum(e.self_cpu_time_total for e in events if "_fused_adam" in e.key) / 20e3
    result["operations"] = sum(e.count for e in events if e.key.startswith("aten::")) / 20
    return result


def main() -> None:
    path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(threads())
    torch.set_flush_denormal(True)
    path.write_text(
        json.dumps({name: parts(CASES[name], settings["data"], settings["steps"]) for name in settings["cases"]})
    )


if __name__ == "__main__":
    main()
