"""Evaluates a checkpoint of a run."""

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf

from discrete_latents.data import ImageData
from discrete_latents.errors import UserError
from discrete_latents.models import LatentModel
from discrete_latents.process import is_first
from discrete_latents.runs.checkpoints import load_weights
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.runs.kept_bounds import KeptBounds
from discrete_latents.runs.results import describe, versions, write_results
from discrete_latents.training.build import build_data, build_model, build_trainer, convert_precision
from discrete_latents.training.foreign import description, evaluate_on, has_fixed_weights, names_of, untested
from discrete_latents.training.memory import IN_EVALUATION, memory_limit
from discrete_latents.training.outcome import TestedMetrics, end_of, results_stand
from discrete_latents.training.shutdown import heeds_sigterm, orderly_shutdown
from discrete_latents.training.validate import check_batches, check_settings


@heeds_sigterm
def evaluate(config: DictConfig, run: RunDirectory, ckpt: str, split: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Tests a checkpoint of a run and writes results.json and pictures into `paths.output_dir`.

    config: the run's saved configuration, with the evaluation's overrides. ckpt: "best" or "last". split: "val" or
    "test". names: the chosen `experiment` and `latent`. Returns the results. Raises UserError for a checkpoint that is
    missing or of another model.
    """
    check_settings(config)
    if run.evaluations.is_symlink():
        raise UserError(f"{run.evaluations} must be a folder of the run, got a link")
    path = run.checkpoint(ckpt)
    if split not in ("val", "test"):
        raise UserError(f"split must be val or test, got {split!r}")
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data, loaded=True)
    names = names_of(config, names)
    if why := untested(model, data, split):
        raise UserError(f"{run}: {why}")
    trainer = build_trainer(config, False, use_distributed_sampler=not isinstance(data, ImageData))
    convert_precision(model, trainer)
    if fixed := has_fixed_weights(model):
        load_weights(path, model)
    check_batches(trainer, data)
    evaluate_on(data, split)
    evaluation = RunDirectory(config.paths.output_dir)
    kept = keep_bounds(config, evaluation, path, model, data)
    results: dict[str, Any] = {}

    def finish(tested: Mapping[str, float]) -> None:
        metrics = {re.sub("^test(?=[/_])", split, name): value for name, value in tested.items()}
        made = describe(names, config.seed, description(data), config.eval_samples) | {
            "checkpoint": str(path),
            "metrics": metrics,
            **end_of(metrics),
        }
        write_results(evaluation, made)
        if made["status"] == "completed":
            results.update(made)

    trainer.callbacks.insert(0, TestedMetrics(finish))  # type: ignore[attr-defined]
    with (
        results_stand(evaluation, results),
        orderly_shutdown(trainer),
        memory_limit(*IN_EVALUATION),
    ):
        ckpt_path = None if fixed else path
        trainer.test(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True, verbose=False)
    if kept is not None and is_first():
        kept.forget()
    return results


def keep_bounds(
    config: DictConfig,
    evaluation: RunDirectory,
    checkpoint: Path,
    model: pl.LightningModule,
    data: pl.LightningDataModule,
) -> KeptBounds | None:
    """Keeps the nll of each batch on disk, so that the same command goes on where this one is killed: the same weights,
    split, versions and settings. Raises UserError for a link in the file's place."""
    if not (isinstance(model, LatentModel) and isinstance(data, ImageData)):
        return None
    settings: list[Any] = [OmegaConf.to_container(config[name], resolve=True) for name in ("model", "data", "trainer")]
    described = repr([settings, config.eval_samples, data.test_split, versions()])
    digest = hashlib.sha256(described.replace(str(evaluation), "").encode())  # whose name is of this moment
    with checkpoint.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    path = evaluation.kept_bounds(digest.hexdigest()[:16])
    model.kept = kept = KeptBounds(path, data.eval_batch_size)
    if (done := len(kept)) and is_first():
        total = len(data.pixels[data.test_split])
        print(f"a stopped evaluation goes on: the nll of {done:,} of {total:,} images is known", file=sys.stderr)
    return kept
