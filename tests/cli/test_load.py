"""Many jobs in one process, many samples in one evaluation, many runs on the same files."""

import gc
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from discrete_latents.models import LatentModel
from discrete_latents.sweep.sweep import Sweep
from tests.cli.conftest import ROOT, SMALL
from tests.helpers.witness import TESTS


class Alive(pl.Callback):
    """Notes, when a run has been tested, how many models there are and the memory of the process, MiB."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_test_end(self, *_: object) -> None:
        gc.collect()
        models = sum(issubclass(type(each), LatentModel) for each in gc.get_objects())  # no proxies
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
        with Path(self.path).open("a") as file:
            file.write(f"{models} {resident}\n")


def run(cwd: Path, script: str, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | TESTS | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / script), *words]
    return subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_jobs_of_a_sweep_leave_no_memory_behind(tmp_path):
    witness = [f"+callbacks.alive._target_={__name__}.Alive", "+callbacks.alive.path=${hydra:sweep.dir}/alive"]
    process = run(tmp_path, "train.py", "-m", *SMALL, *witness, "seed=range(20)", "hydra.sweep.dir=sweep")
    errors = process.communicate(timeout=500)[1]
    assert process.returncode == 0, errors
    table = [line.split() for line in (tmp_path / "sweep" / "alive").read_text().splitlines()]
    assert [int(models) for models, _ in table] == [1] * 20
    first, last = float(table[4][1]), float(table[-1][1])
    assert last - first < 20, f"{first:.0f} MiB after 5 jobs, {last:.0f} after 20"


def test_what_hydra_keeps_of_a_job_is_without_its_configurations():
    config = OmegaConf.create({"seed": 0})
    kept = JobReturn(cfg=config, hydra_cfg=config, overrides=["seed=0"])
    Sweep().on_job_end(config, kept)
    assert (kept.cfg, kept.hydra_cfg, kept.overrides) == (None, None, ["seed=0"])


def peak(cwd: Path, run_folder: Path, samples: int, *words: str) -> float:
    """The most memory that the evaluation of a batch takes, MiB."""
    output = cwd / f"evaluation_{samples}"
    process = run(
        cwd, "eval.py", f"run={run_folder}", f"eval_samples={samples}", "+trainer.limit_test_batches=1",
        f"hydra.run.dir={output}", *words,
    )  # fmt: skip
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    _, process.returncode, usage = os.wait4(process.pid, 0)
    assert process.returncode == 0, errors
    assert json.loads((output / "results.json").read_text())["eval_samples"] == samples
    return usage.ru_maxrss / 1024


@pytest.mark.slow
def test_an_evaluation_of_many_samples_takes_no_more_memory(tmp_path, finished):
    few, many = (peak(tmp_path, finished.folder, samples, "data.eval_batch_size=5") for samples in (10, 100_000))
    assert many < few + 50, (few, many)


@pytest.mark.slow
@pytest.mark.mnist
def test_nor_does_one_of_many_images_at_once(tmp_path, mnist_root):
    """Small tensors, kept between the large ones of a chunk, would leave holes that the next chunk does not fit."""
    words = ["experiment=paper/concrete_linear", "latent=concrete", "trainer.max_epochs=1", "eval_samples=1"]
    words += ["+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1", f"paths.data_dir={mnist_root}"]
    trained = run(tmp_path, "train.py", *words, "callbacks.pictures.every_n_epochs=0", "hydra.run.dir=run")
    errors = trained.communicate(timeout=500)[1]
    assert trained.returncode == 0, errors
    few, many = (peak(tmp_path, tmp_path / "run", samples, "data.eval_batch_size=1000") for samples in (20, 3000))
    assert many < few + 50, (few, many)


@pytest.mark.slow
@pytest.mark.mnist
def test_eight_runs_at_once_share_a_data_folder(tmp_path, mnist_root):
    """And come to the same numbers, since they have the same seed."""
    words = ["experiment=vae_mnist", *SMALL, "trainer.max_epochs=1", "+trainer.limit_train_batches=20"]
    words += ["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1", f"paths.data_dir={mnist_root}"]
    processes = [run(tmp_path, "train.py", *words, f"hydra.run.dir={number}") for number in range(8)]
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
    results = [json.loads((tmp_path / str(number) / "results.json").read_text()) for number in range(8)]
    assert all(each["metrics"] == results[0]["metrics"] for each in results)
