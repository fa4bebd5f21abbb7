"""The sections of the benchmark: each is measured in a folder of its own and returns what the report holds."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from scripts.benchmark.cases import CASES, TRAINERS, Case
from scripts.benchmark.race import BLOCK, Contender, compared, environment, module, rounds, started, training
from scripts.common.paths import TRAIN

NO_PAUSES = ["trainer.check_val_every_n_epoch=1000000", "callbacks.pictures.every_n_epochs=0"]
"""No work between epochs, for epochs of a few steps."""


def steps(case: Case, names: Sequence[str], steps: int, blocks: int, data: Path, folder: Path) -> dict[str, Any]:
    """Step times relative to the plain loop, fresh and after `steps` steps, and peak memory."""
    contenders = {name: Contender(name, case, data, folder) for name in names}
    with started(contenders):
        phases = {"fresh": compared(rounds(contenders, blocks), "plain")}
        for name, contender in contenders.items():
            if "products" not in name:
                for _ in range(blocks, steps // BLOCK):
                    contender.block()
        phases["steady"] = compared(rounds(contenders, blocks), "plain")
    for name, contender in contenders.items():
        phases["steady"][name]["peak_MiB"] = contender.memory
    return phases


def batch_size(case: Case, size: int, blocks: int, data: Path, folder: Path) -> dict[str, Any]:
    """Images per second of a case with another batch size."""
    case = replace(case, batch=size)
    block = max(5, BLOCK * 100 // size)
    contenders = {name: Contender(name, case, data, folder, block, NO_PAUSES) for name in ("plain", "ours")}
    with started(contenders):
        row = compared(rounds(contenders, blocks), "plain")
    return {name: {**cell, "images_per_second": size / (1e-3 * cell["milliseconds"])} for name, cell in row.items()}


def ageing(name: str, steps: int, blocks: int, data: Path, folder: Path) -> dict[str, float]:
    """The time of a step after `steps` steps relative to one after 50 in another process: the cost of denormals."""
    contenders = {age: Contender(name, CASES["512-256"], data, folder / age) for age in ("young", "old")}
    with started(contenders):
        for _ in range(1, steps // BLOCK):
            contenders["old"].block()
        return {"steps": steps, **compared(rounds(contenders, blocks), "young")["old"]}


def startup(repeats: int, data: Path, folder: Path) -> dict[str, Any]:
    """Median seconds from the shell to the end of train.py's first optimiser step, by part, and of importing torch,
    lightning and hydra alone; interleaved."""
    settings = ["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1", "eval_samples=1"]
    imports, runs = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, lightning, hydra"], check=True, env=environment())
        imports.append(time.perf_counter() - begun)
        overrides = training(CASES["512-256"], data, folder / "startup", settings)
        runs.append(measured_by("startup", {"started": time.monotonic(), "overrides": overrides}, folder))
    first = [each["first_step"] for each in runs]
    return {
        "imports_alone": median(imports),
        "first_step": median(first),
        "ratio": median(own / alone for own, alone in zip(first, imports, strict=True)),
        "parts": {name: median(each["parts"][name] for each in runs) for name in runs[0]["parts"]},
    }


def experiment(epochs: int, samples: int, device: str, data: Path, run: Path) -> list[str]:
    """The command of `experiment=vae_mnist`, tested with m samples."""
    command = [sys.executable, str(TRAIN), "experiment=vae_mnist", f"trainer={TRAINERS[device]}"]
    command += [f"paths.data_dir={data}", f"hydra.run.dir={run}", f"trainer.max_epochs={epochs}"]
    return [*command, f"eval_samples={samples}"]


def time_to_bound(nats: float, images: int, device: str, data: Path, folder: Path, epochs: int = 100) -> dict[str, Any]:
    """Epochs and seconds of `experiment=vae_mnist` until the nll (m = 1000) of validation images is at most `nats`, and
    of the loop by hand."""
    path = folder / "time_to_bound.json"
    path.unlink(missing_ok=True)
    callback = {"_target_": "scripts.benchmark.callbacks.TimeToBound", "nats": nats, "images": images}
    callback["path"] = path.absolute()
    command = experiment(epochs, 1, device, data, folder / str(time.time_ns()))
    command += [f"+callbacks.bound.{key}={value}" for key, value in callback.items()]
    run_logged(command, folder / "time_to_bound.log")
    settings = {"data": str(data), "device": device, "epochs": epochs, "nats": nats, "images": images, "samples": 1}
    by_hand = measured_by("by_hand", settings, folder)
    return {"nats": nats, "images": images, **json.loads(path.read_text()), "by_hand": by_hand}


def whole(epochs: int, samples: int, device: str, data: Path, folder: Path) -> dict[str, Any]:
    """Seconds from the shell to the end of `experiment=vae_mnist`, its test with m samples included, and of the loop by
    hand with the same evaluation, one after the other; and what both come to."""
    run = folder / f"whole_{time.time_ns()}"
    begun = time.perf_counter()
    run_logged(experiment(epochs, samples, device, data, run), folder / "whole.log")
    between = time.perf_counter()
    settings = {"data": str(data), "device": device, "epochs": epochs, "nats": None, "images": None, "samples": samples}
    by_hand = measured_by("by_hand", settings, folder)
    seconds = {"ours": between - begun, "by_hand": time.perf_counter() - between}
    results = RunDirectory(run).read_results()
    nll = {"ours": results["metrics"]["test/nll"], "by_hand": by_hand["nll"]}
    return {"epochs": epochs, "m": samples, "compiled": results["compiled"], "seconds": seconds, "nll": nll}


def stacked(case: Case, size: int, steps: int, data: Path, folder: Path) -> dict[str, float]:
    """Images per second of all runs of one stack together, training steps alone. size: of the stack; 1: a run by
    itself, not compiled."""
    rate = "callbacks.throughput._target_=discrete_latents.callbacks.Throughput"
    settings = ["callbacks=none", f"+{rate}", "compile=false", "test=false", *NO_PAUSES[:1]]
    settings += [f"trainer.max_steps={steps}", f"hydra.sweep.dir={folder}/{time.time_ns()}"]
    overrides = training(case, data, folder, settings)
    if size > 1:
        overrides = ["-m", "launcher=stacked", f"seed=range({size})", f"hydra.launcher.size={size}", *overrides]
    run_logged([sys.executable, str(TRAIN), *overrides], folder / "stacked.log")
    newest = max(folder.rglob("results.json"), key=lambda path: path.stat().st_mtime_ns)
    return {"images_per_second": size * json.loads(newest.read_text())["train_images_per_second"], "steps": steps}


def measured_by(name: str, settings: Mapping[str, Any], folder: Path) -> Any:
    """The result of a module of this package that measures in a process of its own."""
    path = folder / f"{name}.json"
    run_logged(module(name, str(path), json.dumps(settings)), path.with_suffix(".log"))
    return json.loads(path.read_text())


def run_logged(command: Sequence[str], log: Path) -> None:
    """Runs a command with its output in a file. Raises UserError if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        if subprocess.run(command, env=environment(), stdout=file, stderr=subprocess.STDOUT).returncode:
            raise UserError(f"{log.stem} failed: see {log}")
