"""From a run to an evaluation of one of its checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig

from discrete_latents.errors import UserError
from discrete_latents.runs.checkpoints import checkpoint, load_weights
from discrete_latents.runs.results import describe, write_json
from discrete_latents.training.build import build_data, build_model, build_trainer
from discrete_latents.training.shutdown import ending
from discrete_latents.training.validate import check, check_batches


def evaluate(config: DictConfig, run: Path, ckpt: str, split: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, rebuilt from the run's saved configuration, and writes results.json and
    pictures into `paths.output_dir`. Raises UserError for a checkpoint that is missing or another model's."""
    check(config)
    path = checkpoint(run, ckpt)
    if split not in ("val", "test"):
        raise UserError(f"split must be val or test, got {split!r}")
    pl.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    model = build_model(config, data)
    load_weights(path, model)
    trainer = build_trainer(config, checkpoints=False)
    check_batches(trainer, data)
    data.test_split = split
    with ending(trainer):
        tested = trainer.test(model, datamodule=data, verbose=False)[0]
    metrics = {name.replace("test/", f"{split}/"): value for name, value in tested.items()}
    results = describe(config, names, data.description) | {
        "checkpoint": str(path),
        "metrics": metrics,
        "status": "completed",
    }
    write_json(Path(config.paths.output_dir) / "results.json", results)
    return results
