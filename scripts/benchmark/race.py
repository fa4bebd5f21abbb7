"""Median step times, contenders interleaved.

Each contender is a process. All start, then run one block of steps at a time in turn, so that a slower machine slows
all of them. Times are medians over rounds of one block each; ratios are taken within a round, with quartiles.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles

from scripts.benchmark.cases import Case
from scripts.common.paths import ROOT, TRAIN

BLOCK = 50
"""Steps of a block."""

OURS = {
    "ours": ["compile=false"],
    "compiled": ["compile=true"],
    "compiled_bf16": ["compile=true", "trainer.precision=bf16-mixed"],
}
"""Contenders that are train.py with these settings."""

CONTENDERS = ("plain", "plain_fused", *OURS, "template", "products", "onednn_products")


def environment() -> dict[str, str]:
    """The environment of every process that is measured: its threads, 1 unless BENCHMARK_THREADS is set, and `scripts`
    importable from any folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTORCH_NVML_BASED_CUDA_CHECK"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The progress bar is drawn as on a screen, though it goes to a file.
    threads = os.environ.get("BENCHMARK_THREADS", "1")
    return kept | {"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(paths), "FORCE_COLOR": "1"}


def module(name: str, *words: str) -> list[str]:
    """The command of a module of this package. -P: a `scripts` in the working directory is not imported instead."""
    return [sys.executable, "-P", "-m", f"scripts.benchmark.{name}", *words]


def training(case: Case, data: Path, folder: Path, settings: Sequence[str] = ()) -> list[str]:
    """Overrides of train.py for a run in a new folder within `folder`."""
    overrides = [*case.settings(), "trainer.max_epochs=1000000", f"paths.data_dir={data}"]
    return [*overrides, f"hydra.run.dir={folder}/{time.time_ns()}", *settings]


class Contender:
    """A process that runs a block of steps whenever it is released."""

    def __init__(
        self, name: str, case: Case, data: Path, folder: Path, block: int = BLOCK, settings: Sequence[str] = ()
    ) -> None:
        self.block_size = block
        self.memory = 0.0
        if name in OURS:
            gate = "+callbacks.gate._target_=scripts.benchmark.callbacks.BlockwiseTraining"
            overrides = training(case, data, folder / name, [gate, *OURS[name], *settings])
            command = [sys.executable, str(TRAIN), *overrides]
        else:
            of = "template" if name == "template" else "contenders"
            command = module(of, name, str(data), json.dumps(asdict(case)))
        release, self.release = os.pipe()
        reports, report = os.pipe()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=(release, report),
                env=environment() | {"BENCHMARK_GATE": f"{release} {report} {block}"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        os.close(release)
        os.close(report)
        self.reports = os.fdopen(reports)

    def wait(self) -> None:
        """Waits until it stands before its first step."""
        self.read_report()

    def block(self) -> float:
        """Runs one block. Returns the mean seconds of a step."""
        os.write(self.release, b"go\n")
        seconds, memory = map(float, self.read_report().split())
        self.memory = memory
        return seconds / self.block_size

    def read_report(self) -> str:
        line = self.reports.readline()
        if not line:
            raise SystemExit(f"error: a contender stopped: see {self.log}")
        return line

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reports.close()
        os.close(self.release)


@contextmanager
def started(contenders: Mapping[str, Contender]) -> Iterator[None]:
    """Runs the first block of each, which allocates and compiles; stops all at the end."""
    try:
        for contender in contenders.values():
            contender.wait()
            contender.block()
        yield
    finally:
        for contender in contenders.values():
            contender.stop()


def rounds(contenders: Mapping[str, Contender], blocks: int) -> dict[str, list[float]]:
    """Seconds of a step, by contender and round."""
    times = [[contender.block() for contender in contenders.values()] for _ in range(blocks)]
    return dict(zip(contenders, map(list, zip(*times, strict=True)), strict=True))


def compared(times: Mapping[str, Sequence[float]], reference: str) -> dict[str, dict[str, float]]:
    """By contender: the median in milliseconds, and the ratio to the reference with its quartiles."""
    return {name: relative(own, times[reference]) for name, own in times.items()}


def relative(times: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    ratios = [own / other for own, other in zip(times, reference, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {"milliseconds": 1e3 * median(times), "ratio": median(ratios), "low": low, "high": high}
