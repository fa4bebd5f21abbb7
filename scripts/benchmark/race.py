"""Contenders of `benchmark.py`, each in a process of its own, stopped and released in turn.

They all start and are then released block by block, so that what slows the machine slows all of them. A figure is the
median over rounds of one block each, and a ratio that of the times within a round, with quartiles.
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

from benchmark_cases import Case

SCRIPTS = Path(__file__).resolve().parent
TRAIN = SCRIPTS.parent / "train.py"
BLOCK = 50
"""Steps between two stops."""

OURS = {
    "ours": [],
    "compiled": ["compile=true"],
    "compiled_bf16": ["compile=true", "trainer.precision=bf16-mixed"],
}
"""train.py, with these settings."""

CONTENDERS = ("plain", *OURS, "template", "products", "onednn_products")


def environment() -> dict[str, str]:
    """Of every process that is measured."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTORCH_NVML_BASED_CUDA_CHECK"}
    paths = [str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The bar is drawn as on a screen, though it goes to a file.
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), "FORCE_COLOR": "1"}


def training(case: Case, data: Path, folder: Path, settings: Sequence[str] = ()) -> list[str]:
    """A command of train.py that writes into a new folder within `folder`."""
    words = [*case.settings(), "trainer.max_epochs=1000000", f"paths.data_dir={data}"]
    return [sys.executable, str(TRAIN), *words, f"hydra.run.dir={folder}/{time.time_ns()}", *settings]


class Contender:
    """A process that takes a block of steps whenever it is told to."""

    def __init__(
        self, name: str, case: Case, data: Path, folder: Path, block: int = BLOCK, settings: Sequence[str] = ()
    ) -> None:
        self.block_size = block
        self.memory = 0.0
        if name in OURS:
            gate = "+callbacks.gate._target_=benchmark_callbacks.Gate"
            command = training(case, data, folder / name, [gate, *OURS[name], *settings])
        else:
            script = "benchmark_template.py" if name == "template" else "benchmark_contenders.py"
            command = [sys.executable, str(SCRIPTS / script), name, str(data), json.dumps(asdict(case))]
        told, self.tell = os.pipe()
        said, say = os.pipe()
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=(told, say),
                env=environment() | {"BENCHMARK_GATE": f"{told} {say} {block}"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        os.close(told)
        os.close(say)
        self.said = os.fdopen(said)

    def wait(self) -> None:
        """Until it stands before its first step."""
        self.hear()

    def block(self) -> float:
        """Seconds for a step, the mean over one block."""
        os.write(self.tell, b"go\n")
        seconds, memory = map(float, self.hear().split())
        self.memory = memory
        return seconds / self.block_size

    def hear(self) -> str:
        line = self.said.readline()
        if not line:
            raise SystemExit(f"error: a contender stopped: see {self.log}")
        return line

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.said.close()
        os.close(self.tell)


@contextmanager
def started(contenders: Mapping[str, Contender]) -> Iterator[None]:
    """Contenders before their second block: the first allocates and compiles."""
    try:
        for contender in contenders.values():
            contender.wait()
            contender.block()
        yield
    finally:
        for contender in contenders.values():
            contender.stop()


def rounds(contenders: Mapping[str, Contender], blocks: int) -> dict[str, list[float]]:
    """Seconds for a step, by contender and round."""
    times = [[contender.block() for contender in contenders.values()] for _ in range(blocks)]
    return dict(zip(contenders, map(list, zip(*times, strict=True)), strict=True))


def compared(times: Mapping[str, Sequence[float]], reference: str) -> dict[str, dict[str, float]]:
    """By contender: milliseconds, and the ratio to the reference with its quartiles."""
    return {name: summary(own, times[reference]) for name, own in times.items()}


def summary(times: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    ratios = [own / other for own, other in zip(times, reference, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {"milliseconds": 1e3 * median(times), "ratio": median(ratios), "low": low, "high": high}
