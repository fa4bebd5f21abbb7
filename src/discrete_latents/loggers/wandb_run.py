"""Weights & Biases: one W&B run for each run, resumed with it."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf

from discrete_latents.atomic_write import atomic_write
from discrete_latents.errors import UserError
from discrete_latents.lightning_internals import begun_experiment, wandb_settings
from discrete_latents.runs.directory import RunDirectory, SweepDirectory
from discrete_latents.runs.files import read_json
from discrete_latents.runs.metrics import best_in_validation
from discrete_latents.secrecy import masked_override

LONGEST, LONGEST_TAG = 128, 64
"""Characters of a name and of a tag that W&B takes."""

STEP = "trainer/global_step"
"""The x-axis of everything that Lightning logs to W&B."""


class WandbRun(WandbLogger):
    """Lightning's W&B logger; only the process of rank 0 writes.

    offline: record the run in `save_dir/wandb`, for `wandb sync` to upload, as WANDB_MODE=offline does.
    project: None: the variable WANDB_PROJECT, else discrete_latents.
    name, group: None: in a multirun, the overrides that vary and the sweep's folder; else of `describe`.
    tags: None or none: of `describe`.
    lowest, highest: metrics whose minimum or maximum W&B's summary holds beside the last value; None: the validation
    metrics that `runs.metrics` says are better low, or high.
    log_model: upload checkpoints as artifacts; True: at the end, "all": each when it is written.
    resume: continue the W&B run that `save_dir` was logged to, if there is one.
    settings: of `wandb.init`.
    Raises ValueError for artifacts offline, and UserError when the run starts and W&B refuses it.
    """

    def __init__(
        self,
        save_dir: str,
        project: str | None = None,
        offline: bool = False,
        name: str | None = None,
        group: str | None = None,
        tags: str | Sequence[str] | None = None,
        lowest: Sequence[str] | None = None,
        highest: Sequence[str] | None = None,
        log_model: bool | str = False,
        resume: object = None,
        **settings: Any,
    ) -> None:
        if log_model not in (True, False, "all"):
            raise ValueError(f"log_model must be true, false or all, got {log_model!r}")
        if log_model and (offline or os.environ.get("WANDB_MODE") in ("offline", "dryrun")):
            raise ValueError(f"log_model must be false where W&B is offline, since it uploads, got {log_model!r}")
        self.record = RunDirectory(save_dir).wandb_record
        lowest = best_in_validation("lowest") if lowest is None else lowest
        highest = best_in_validation("highest") if highest is None else highest
        self.best = dict.fromkeys(lowest, "min") | dict.fromkeys(highest, "max")
        earlier = read_record(self.record) if resume else {}
        self.resumed = bool(earlier)
        sweep, varied = sweep_and_job()
        settings |= {"mode": "offline"} if offline else {}
        super().__init__(
            save_dir=save_dir,
            project=earlier.get("project") or project or os.environ.get("WANDB_PROJECT") or "discrete_latents",
            entity=earlier.get("entity", settings.pop("entity", None)),
            id=earlier.get("id"),
            name=name or earlier.get("name") or os.environ.get("WANDB_NAME") or varied,
            group=group or earlier.get("group") or os.environ.get("WANDB_RUN_GROUP") or sweep,
            tags=[tags] if isinstance(tags, str) else list(tags or ()) or None,
            log_model=log_model,  # type: ignore[arg-type]
            **settings,
        )
        wandb_settings(self).pop("anonymous", None)  # Lightning's, of which W&B warns

    def describe(self, names: Mapping[str, str], seed: int) -> None:
        """Gives the run the name, group and tags that nobody has given it: from the chosen `experiment` and `latent`,
        and the seed. A run that goes on keeps its own. To be called before the run starts."""
        if self.resumed:
            return
        settings, chosen = wandb_settings(self), [names[name] for name in ("experiment", "latent") if name in names]
        defaults = {
            "name": " ".join([*chosen, f"seed {seed}"])[:LONGEST],
            "group": names.get("experiment"),
            "tags": None if os.environ.get("WANDB_TAGS") else [tag[:LONGEST_TAG] for tag in (*chosen, f"seed {seed}")],
        }
        for key, value in defaults.items():
            if settings.get(key) is None:
                settings[key] = value

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started at the first access."""
        if begun_experiment(self) is None:
            import wandb

            command = sys.argv
            sys.argv = [masked_override(word) for word in command]  # W&B records it
            try:
                run = super().experiment
            except (wandb.Error, ValueError, TypeError) as error:
                said = " ".join(str(error).split())
                if isinstance(error, wandb.Error):
                    said += " (logger.wandb.offline=true needs neither an account nor a network)"
                raise UserError(f"logger.wandb: {said}") from error
            finally:
                sys.argv = command
            for metric, kind in self.best.items():
                run.define_metric(metric, step_metric=STEP, step_sync=True, summary=f"{kind},last")
            if not run.disabled:
                kept = {key: getattr(run, key) or None for key in ("id", "project", "entity", "name", "group")}
                atomic_write(self.record, json.dumps(kept, indent=2) + "\n")
        return begun_experiment(self)


def read_record(path: Path) -> dict[str, str | None]:
    """The W&B run that a run was logged to; empty where it was to none. Raises UserError for a damaged file, and for
    an id that would be a path."""
    try:
        record = read_json(path)
    except FileNotFoundError:
        return {}
    if not all(value is None or isinstance(value, str) for value in record.values()):
        raise UserError(f"{path} is damaged: it must hold names")
    if not re.fullmatch(r"[\w-]*", record.get("id") or "", re.ASCII):
        raise UserError(f"{path} is damaged: id must be letters, digits, - and _, got {record['id']!r:.80}")
    return record


def sweep_and_job() -> tuple[str | None, str | None]:
    """In a job of a multirun, the name of the sweep's folder and the job's overrides that vary; else None twice."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None, None
    hydra = HydraConfig.get()
    sweep = SweepDirectory(Path(hydra.runtime.cwd) / hydra.sweep.dir)
    given: Any = OmegaConf.to_container(sweep.read_hydra().overrides.task) if sweep.multirun.is_file() else []
    parse = OverridesParser.create().parse_overrides
    fixed = {override.get_key_element() for override in parse(given) if not override.is_sweep_override()}
    job = parse(list(hydra.overrides.task))
    varied = " ".join(str(override.input_line) for override in job if override.get_key_element() not in fixed)
    return sweep.folder.name, varied[:LONGEST] or None
