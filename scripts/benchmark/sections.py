"""The measurements of `benchmark.py`: each takes its size and where it may write, and gives what the report holds."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmark_cases import CASES, Case
from benchmark_race import BLOCK, SCRIPTS, TRAIN, Contender, compared, environment, rounds, started, training

NO_PAUSES = ["trainer.check_val_every_n_epoch=1000000", "callbacks.pictures.every_n_epochs=0"]
"""Without what comes between epochs, for epochs of a few steps."""


def steps(case: Case, names: Sequence[str], steps: int, blocks: int, data: Path, folder: Path) -> dict[str, Any]:
    """A step's time relative to the plain loop's, fresh and after `steps` steps, and the most memory so far."""
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
    """Images a second of a case with another batch size."""
    case = replace(case, batch=size)
    block = max(5, BLOCK * 100 // size)
    contenders = {name: Contender(name, case, data, folder, block, NO_PAUSES) for name in ("plain", "ours")}
    with started(contenders):
        row = compared(rounds(contenders, blocks), "plain")
    return {name: {**cell, "images_per_second": size / (1e-3 * cell["milliseconds"])} for name, cell in row.items()}


def ageing(name: str, steps: int, blocks: int, data: Path, folder: Path) -> dict[str, float]:
    """A step's time after `steps` steps over that of a process of the same kind after 50: what denormals cost."""
    contenders = {age: Contender(name, CASES["512-256"], data, folder / age) for age in ("young", "old")}
    with started(contenders):
        for _ in range(1, steps // BLOCK):
            contenders["old"].block()
        return {"steps": steps, **compared(rounds(contenders, blocks), "young")["old"]}


def startup(repeats: int, data: Path, folder: Path) -> dict[str, Any]:
    """Seconds from the shell to the end of train.py's first optimiser step, by parts, and those that importing torch,
    lightning and hydra takes, in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    path, log = folder / "startup.json", folder / "startup.log"
    settings = ["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1", "eval_samples=1"]
    imports, runs = [], []
    for _ in range(repeats):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, lightning, hydra"], check=True, env=environment())
        imports.append(time.perf_counter() - begun)
        words = training(CASES["512-256"], data, folder / "startup", settings)[2:]
        command = [sys.executable, str(SCRIPTS / "benchmark_startup.py"), str(time.monotonic()), str(path), *words]
        run(command, log)
        runs.append(json.loads(path.read_text()))
    first = [each["first_step"] for each in runs]
    return {
        "imports_alone": median(imports),
        "first_step": median(first),
        "ratio": median(own / alone for own, alone in zip(first, imports, strict=True)),
        "parts": {name: median(each["parts"][name] for each in runs) for name in runs[0]["parts"]},
    }


def run(command: Sequence[str], log: Path) -> None:
    with log.open("w") as file:
        if subprocess.run(command, env=environment(), stdout=file, stderr=subprocess.STDOUT).returncode:
            raise SystemExit(f"error: {Path(command[1]).name} failed: see {log}")


def time_to_bound(
    nats: float, images: int, words: Sequence[str], data: Path, folder: Path, epochs: int = 100
) -> dict[str, Any]:
    """Training `experiment=vae_mnist` as it is, but for `words`, until the nll of validation images is at most
    `nats`."""
    path = folder / "time_to_bound.json"
    path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    given = {"_target_": "benchmark_callbacks.TimeToBound", "nats": nats, "images": images, "path": path.absolute()}
    words = ["experiment=vae_mnist", *words, f"paths.data_dir={data}", f"hydra.run.dir={folder}/{time.time_ns()}"]
    words += [
        f"trainer.max_epochs={epochs}",
        "eval_samples=1",
        *(f"+callbacks.bound.{k}={v}" for k, v in given.items()),
    ]
    run([sys.executable, str(TRAIN), *words], folder / "time_to_bound.log")
    return {"nats": nats, "images": images, **json.loads(path.read_text())}


def told(script: str, words: Sequence[str], folder: Path) -> Any:
    """What a script of ours that measures within one process writes into the path that is its first argument."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(script).stem}.json"
    run([sys.executable, str(SCRIPTS / script), str(path), *words], path.with_suffix(".log"))
    return json.loads(path.read_text())
