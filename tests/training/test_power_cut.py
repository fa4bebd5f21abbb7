"""What is on the disk, and not only in the system's memory, when a run has ended: results and checkpoints."""

import os
from collections import Counter
from pathlib import Path

import lightning.pytorch as pl
import pytest

from discrete_latents.callbacks.checkpoint import WholeFiles
from discrete_latents.config.compose import composed
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.training.train import train

NAMES = {"experiment": "vae_digits", "latent": "gumbel_softmax"}


class Stops(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("stopped here")


@pytest.mark.parametrize("stopped", [False, True])
def test_results_and_the_last_checkpoint_are_synchronised_once_when_training_ends(tmp_path, monkeypatch, stopped):
    run = RunDirectory(tmp_path / "run")
    synchronised: list[Path] = []
    written: Counter[str] = Counter()
    fsync, save = os.fsync, WholeFiles.save_checkpoint

    def watched_fsync(descriptor: int) -> None:
        synchronised.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def watched_save(self: WholeFiles, checkpoint: dict, path: str, storage_options: object = None) -> None:
        assert run.last not in synchronised
        written[Path(path).name] += 1
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(WholeFiles, "save_checkpoint", watched_save)
    overrides = ["experiment=vae_digits", "trainer.max_epochs=3", "eval_samples=2", f"paths.output_dir={run}"]
    overrides += ["~callbacks.pictures"]
    if stopped:
        with pytest.raises(RuntimeError, match="stopped here"):
            train(composed(overrides), NAMES, callbacks=[Stops()])
    else:
        train(composed(overrides), NAMES)
    assert written["last.ckpt"] == (2 if stopped else 3)
    ours = [path for path in synchronised if path.is_relative_to(run.folder)]
    results = [] if stopped else [run.results.with_name("results.json.partial"), run.folder]
    assert ours == [run.best, run.last, run.checkpoints, *results]
