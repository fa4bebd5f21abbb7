"""Dashboards: the Weights & Biases run of a run, and what such loggers show beside numbers.

The only module that knows of W&B, which it imports when a run uses it.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import begun_experiment, wandb_settings

STEP = "trainer/global_step"
"""The x-axis of everything that Lightning logs to W&B."""


class WandbRun(WandbLogger):
    """Lightning's logger, which the process of rank 0 alone writes to.

    offline: recorded in `save_dir/wandb`, for `wandb sync` to upload, as with the variable WANDB_MODE=offline. name,
    group: where None, in a multirun, what the job varies and the sweep's folder. lowest, highest: metrics whose
    minimum or maximum the summary is to hold beside the last value. log_model: uploads checkpoints as artifacts, true:
    in the end, "all": whenever one is written. resume: whether to go on in the W&B run that `save_dir` was logged to
    before, where there is one. settings: of `wandb.init`.

    Raises ValueError for artifacts offline, and UserError, when the run starts, where W&B does not let it.
    """

    def __init__(
        self,
        save_dir: str,
        project: str,
        offline: bool = False,
        name: str | None = None,
        group: str | None = None,
        tags: str | Sequence[str] = (),
        lowest: Sequence[str] = (),
        highest: Sequence[str] = (),
        log_model: bool | str = False,
        resume: object = None,
        **settings: Any,
    ) -> None:
        if log_model not in (True, False, "all"):
            raise ValueError(f"log_model must be true, false or all, got {log_model!r}")
        if log_model and (offline or os.environ.get("WANDB_MODE") in ("offline", "dryrun")):
            raise ValueError(f"log_model must be false where W&B is offline, since it uploads, got {log_model!r}")
        self.record = Path(save_dir) / "wandb" / "run.json"
        self.best = dict.fromkeys(lowest, "min") | dict.fromkeys(highest, "max")
        earlier = json.loads(self.record.read_text()) if resume and self.record.is_file() else {}
        sweep, varied = sweep_and_job()
        settings |= {"mode": "offline"} if offline else {}
        super().__init__(
            save_dir=save_dir,
            project=earlier.get("project", project),
            entity=earlier.get("entity", settings.pop("entity", None)),
            id=earlier.get("id"),
            name=name or earlier.get("name") or os.environ.get("WANDB_NAME") or varied,
            group=group or earlier.get("group") or os.environ.get("WANDB_RUN_GROUP") or sweep,
            tags=[tags] if isinstance(tags, str) else list(tags) or None,
            log_model=log_model,  # type: ignore[arg-type]
            **settings,
        )
        wandb_settings(self).pop("anonymous", None)  # Lightning's, of which W&B warns

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun when first asked for."""
        if begun_experiment(self) is None:
            import wandb

            try:
                run = super().experiment
            except (wandb.Error, ValueError, TypeError) as error:
                said = " ".join(str(error).split())
                if isinstance(error, wandb.Error):
                    said += " (logger.wandb.offline=true needs neither an account nor a network)"
                raise UserError(f"logger.wandb: {said}") from error
            for metric, kind in self.best.items():
                run.define_metric(metric, step_metric=STEP, step_sync=True, summary=f"{kind},last")
            if not run.disabled:
                kept = {key: getattr(run, key) or None for key in ("id", "project", "entity", "name", "group")}
                self.record.write_text(json.dumps(kept, indent=2) + "\n")
        return begun_experiment(self)


def sweep_and_job() -> tuple[str | None, str | None]:
    """In a job of a multirun, the name of the sweep's folder, and the job's values of what the sweep varies."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None, None
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.cwd) / hydra.sweep.dir
    saved = folder / "multirun.yaml"
    given = OmegaConf.load(saved).hydra.overrides.task if saved.is_file() else []
    parse = OverridesParser.create().parse_overrides
    fixed = {override.get_key_element() for override in parse(list(given)) if not override.is_sweep_override()}
    job = parse(list(hydra.overrides.task))
    varied = " ".join(str(override.input_line) for override in job if override.get_key_element() not in fixed)
    return folder.name, varied[:128] or None  # W&B takes no longer names


def shows_more(loggers: Iterable[Logger]) -> bool:
    """Whether a logger shows pictures and histograms."""
    return any(isinstance(logger, WandbLogger | TensorBoardLogger) for logger in loggers)


@rank_zero_only
def log_pictures(loggers: Iterable[Logger], pictures: Mapping[str, Path], step: int) -> None:
    """Shows PNG files, each as images/NAME."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            shown: Any = {f"images/{name}": wandb.Image(str(path)) for name, path in pictures.items()}
            logger.log_metrics(shown, step)
        elif isinstance(logger, TensorBoardLogger):
            for name, path in pictures.items():
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image(f"images/{name}", pixels, step, dataformats="HWC")


@rank_zero_only
def log_shares(loggers: Iterable[Logger], name: str, shares: Tensor, step: int) -> None:
    """Shows how values in [0, 1] are distributed, in 50 bins."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            counts = np.histogram(shares.flatten().double().cpu().numpy(), bins=50, range=(0, 1))
            shown: Any = {name: wandb.Histogram(np_histogram=counts)}
            logger.log_metrics(shown, step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram(name, shares, step, bins=np.linspace(0, 1, 51))


def close(loggers: Iterable[Logger], failed: bool) -> None:
    """Ends every logger's run, so that the next job of a sweep starts its own."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            import wandb

            wandb.finish(exit_code=int(failed))
