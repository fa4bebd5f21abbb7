"""The files that runs, sweeps and searches leave on disk. The only module that spells their names.

Nothing here creates, locks or deletes anything: whoever writes a file asks for its path.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from discrete_latents.atomic_write import atomic_folder
from discrete_latents.errors import UserError
from discrete_latents.runs.files import is_file, plain_name, read_json, reason
from discrete_latents.runs.saved_hydra import used_of_hydra
from discrete_latents.runs.saved_yaml import LARGEST, read_yaml
from discrete_latents.secrecy import masked

FIRST, LAST = "# Saved by train.py, down to the last line.\n", "# end\n"
"""Around a saved configuration, of which a part can be valid YAML too."""

RESULTS = {"status": str, "error": str, "metrics": dict, "steps": int}
"""What readers take for granted in results.json, where it is there."""


class Directory:
    """A folder; its path is its text."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def __str__(self) -> str:
        return str(self.folder)

    def __fspath__(self) -> str:
        return str(self.folder)


class RunDirectory(Directory):
    """A run's directory, or that of an evaluation. The directory may be any folder; its files may be missing.

    checkpoints: the folder of the checkpoints, where `callbacks.checkpoint.dirpath` is not the default.
    """

    borrowed = False
    """Whether nothing may be written here: a run that ships with the package, or a download."""

    def __init__(self, folder: str | os.PathLike[str], checkpoints: str | os.PathLike[str] | None = None) -> None:
        super().__init__(folder)
        self.results = self.folder / "results.json"
        self.metrics = self.folder / "metrics.csv"
        self.images = self.folder / "images"
        self.report = self.folder / "report.html"
        self.explorer = self.folder / "explorer.html"
        self.tensorboard = self.folder / "tensorboard"
        self.wandb = self.folder / "wandb"
        self.wandb_record = self.wandb / "run.json"
        self.log = self.folder / "train.log"
        self.error = self.folder / "error.txt"
        """The traceback of a search's trial."""
        self.lock = self.folder / ".lock"
        """Held by the process that trains, resumes or evaluates here."""
        self.holder = self.folder / ".lock.txt"
        """Who holds the lock; left behind by a process that was killed."""

        self.checkpoints = self.folder / "checkpoints" if checkpoints is None else Path(checkpoints)
        self.best = self.checkpoints / "best.ckpt"
        """Of the default `callbacks.checkpoint.filename`; `checkpoint` finds the best under any name."""
        self.last = self.checkpoints / "last.ckpt"

        self.exported = self.folder / "model.safetensors"
        """The weights of an export, which is a run of a few files: it has no `checkpoints`."""
        self.card = self.folder / "README.md"
        """Says what an export is, to whoever finds it."""

        self.hydra = self.folder / ".hydra"
        """The saved configuration: `save_config` writes all its files at once. In runs of earlier versions, Hydra wrote
        config.yaml first."""
        self.config = self.hydra / "config.yaml"
        self.hydra_config = self.hydra / "hydra.yaml"
        self.overrides = self.hydra / "overrides.yaml"

        self.evaluations = self.folder / "evaluations"

    @property
    def written(self) -> list[Path]:
        """The files and folders that training writes, except the saved configuration and logs."""
        folders = [self.checkpoints, self.images, self.tensorboard, self.wandb]
        return [self.results, self.metrics, self.report, self.exported, *folders]

    def trace(self) -> Path | None:
        """A file or folder of a run that is here, which a new one would overwrite; None in a folder that is free.

        Locks, logs, empty folders, and a saved configuration that is not complete, which a kill at the start leaves,
        are no run.
        """
        if all(path.is_file() for path in (self.config, self.hydra_config, self.overrides)):
            return self.hydra
        there = [path for path in self.written if os.path.lexists(path)]
        return next((path for path in there if not path.is_dir() or any(path.iterdir())), None)

    @property
    def home(self) -> "RunDirectory":
        """The run that an evaluation is of; a run itself."""
        above = self.folder.absolute().parent
        return RunDirectory(self.folder.parent.parent) if above == RunDirectory(above.parent).evaluations else self

    def evaluation(self, name: str) -> "RunDirectory":
        """An evaluation of this run: results.json and images, kept apart from the run's own."""
        return RunDirectory(self.evaluations / name)

    def kept_bounds(self, key: str) -> Path:
        """The bounds that an evaluation into this directory has so far; the next one of the same key goes on with them.
        They are beside the evaluations of a run, which have a name of their moment, or in any other directory."""
        return (self.folder if self.home is self else self.folder.parent) / f".nll-{key}"

    def checkpoint(self, which: str) -> Path:
        """The checkpoint "best", which is the one that was tested, or "last". Raises UserError for another word, and
        for a file that is missing."""
        if which not in ("best", "last"):
            raise UserError(f"ckpt must be best or last, got {which!r}")
        if self.is_export and which == "last":
            raise UserError(f"{self} is an export, which has its best weights alone: ckpt=best")
        path = self.tested() if which == "best" else self.last
        if not is_file(path):
            raise UserError(f"{self} has no checkpoint {path.name} in {path.parent}")
        return path

    @property
    def is_export(self) -> bool:
        return is_file(self.exported) and not os.path.lexists(self.checkpoints)

    def tested(self) -> Path:
        """The checkpoint of which the results are, or would be if training ended here: the one that results.json names,
        unless the run went on since then; else best.ckpt, else the best that last.ckpt knows of.

        Of what these files say, nothing but the name of a file in `checkpoints` counts. Raises UserError for others.
        """
        from discrete_latents.runs.checkpoints import best_of  # torch: who asks for names alone does without

        if self.is_export:
            return self.exported
        results = self.read_results()
        named = results.get("checkpoint")
        if is_file(self.best) and (named is None or self.inside(named, self.results) == self.best):
            return self.best
        progress = best_of(self.last) if is_file(self.last) else None
        if named is not None and (progress is None or progress.step <= results.get("steps", 0)):
            return self.inside(named, self.results)
        return self.inside(progress.path, self.last) if progress and progress.path else self.best

    def inside(self, named: Any, where: Path) -> Path:
        """The file in `checkpoints` of a path that a file of the run holds. The run may have been moved since then."""
        name = plain_name(named, self.last.suffix)
        if name is None:
            raise UserError(f"{where} is damaged: it names no checkpoint, but {named!r}")
        return self.checkpoints / name

    def name_of(self, checkpoint: Path | None) -> str | None:
        """A checkpoint as results.json names it: relative to the run where it is inside."""
        if checkpoint is None:
            return None
        folder = self.folder.resolve()
        return str(checkpoint.relative_to(folder) if checkpoint.is_relative_to(folder) else checkpoint)

    def last_checkpoint(self) -> Path | None:
        """The checkpoint to resume from; None for a run that was stopped before its first.

        The first best.ckpt is written before the first last.ckpt. Raises UserError where there was a last.ckpt, as
        results or other checkpoints show, and the file is missing.
        """
        from discrete_latents.runs.checkpoints import follows_last

        if is_file(self.last):
            return self.last
        if self.is_export:
            raise UserError(f"{self} is an export, with which no run goes on; weights={self} starts a new run from it")
        ended = self.read_results().get("status", "failed") != "failed"
        if ended or any(map(follows_last, self.checkpoints.glob("*.ckpt"))):
            raise UserError(f"{self} has no checkpoint {self.last.name} in {self.checkpoints}")
        return None

    def read_results(self) -> dict[str, Any]:
        """results.json; empty where there is none. Raises UserError for a damaged file."""
        try:
            results = read_json(self.results)
        except FileNotFoundError:
            return {}
        wrong = [name for name, kind in RESULTS.items() if name in results and not isinstance(results[name], kind)]
        metrics = {} if wrong else results.get("metrics", {})
        wrong += [f"metrics.{name}" for name, value in metrics.items() if not isinstance(value, int | float | None)]
        if wrong:
            raise UserError(f"{self.results} is damaged: {wrong[0]} must be of another type")
        return results

    def read_config(self) -> DictConfig:
        """The saved configuration. Raises UserError where it is missing, damaged, or describes no model."""
        config = self.read_saved(self.config)
        if "model" not in config:
            raise UserError(self.not_a_run(self.config, "has no model"))
        return config

    def read_hydra(self) -> DictConfig:
        """What is used of Hydra's own configuration: job, overrides, chosen options (`runtime.choices`).

        Raises UserError as above.
        """
        try:
            return used_of_hydra(self.read_saved(self.hydra_config))
        except ValueError as error:
            raise UserError(self.not_a_run(self.hydra_config, f"cannot be read: {error}")) from error

    def read_choices(self) -> Mapping[str, Any]:
        """The options that the run was configured with, by group. Raises UserError where they cannot be read.

        They are unknown in a run that was killed while an earlier version wrote them, which was before it trained.
        """
        try:
            choices = OmegaConf.select(self.read_hydra(), "runtime.choices")
            if isinstance(choices, DictConfig):
                return choices
            raise UserError(self.not_a_run(self.hydra_config, "has no choices"))
        except UserError:
            config_is_whole = self.hydra_config.exists() or LAST in self.config.read_text("utf-8")
            if config_is_whole and self.last_checkpoint() is None:
                return {"experiment": "unknown", "latent": "unknown"}
            raise

    def read_saved(self, path: Path) -> DictConfig:
        try:
            content = read_yaml(path)
            whole = is_whole(path.read_text("utf-8"))
        except FileNotFoundError as error:
            missing = f"it has no {path.relative_to(self.folder)}"
            raise UserError(f"{self} is not the directory of a run: {missing}") from error
        except UserError as error:
            raise UserError(self.not_a_run(path, f"cannot be read: {reason(path, error)}")) from error
        if not whole:
            raise UserError(self.not_a_run(path, "is cut off"))
        if not isinstance(content, DictConfig) or not content:
            raise UserError(self.not_a_run(path, "has no settings"))
        return content

    def not_a_run(self, path: Path, why: str) -> str:
        return f"{self} is not the directory of a run: its {path.relative_to(self.folder)} {why}"

    def save_config(self, config: DictConfig, hydra: Any = None, secrets: bool = False) -> None:
        """Saves a configuration, all files or none; a kill leaves what was there.

        hydra: Hydra's own; None saves `config` alone. secrets: save them too, and do not mask them.
        """
        atomic_folder(self.hydra, {path.name: text for path, text in self.config_texts(config, hydra, secrets).items()})

    def config_texts(self, config: DictConfig, hydra: Any = None, secrets: bool = False) -> dict[Path, str]:
        """The files that `save_config` writes."""
        saved: dict[Path, Any] = {}
        if hydra is not None:
            saved = {self.hydra_config: OmegaConf.create({"hydra": hydra}), self.overrides: hydra.overrides.task}
        saved[self.config] = config
        texts = {}
        for path, node in saved.items():
            content = OmegaConf.to_container(node)
            texts[path] = FIRST + OmegaConf.to_yaml(OmegaConf.create(content if secrets else masked(content))) + LAST
        return texts


class SweepDirectory(Directory):
    """A sweep's directory: the sweep's own configuration, and a run directory for each job that was started."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        self.multirun = self.folder / "multirun.yaml"
        """Written by Hydra whenever the sweep starts or goes on, not atomically."""
        self.multirun_copy = self.folder / ".multirun.yaml"
        """The same, written before it and atomically; deleted at the sweep's end."""
        self.lock = self.folder / "sweep.lock"
        """Held by the process that starts the jobs."""
        self.holder = self.folder / "sweep.lock.txt"

    def read_hydra(self) -> DictConfig:
        """What is used of Hydra's own configuration. Raises UserError where it is missing or damaged."""
        path = self.multirun_copy if self.is_cut() else self.multirun
        try:
            return used_of_hydra(read_yaml(path))
        except FileNotFoundError as error:
            raise UserError(f"{self} is not the directory of a sweep: it has no {self.multirun.name}") from error
        except (UserError, ValueError) as error:
            raise UserError(self.not_a_sweep(f"cannot be read: {reason(path, error)}")) from error

    def is_cut(self) -> bool:
        """Whether the sweep was killed before Hydra had written all of its file."""
        files = [path for path in (self.multirun, self.multirun_copy) if path.is_file()]
        if self.multirun_copy not in files or any(path.stat().st_size > LARGEST for path in files):
            return False
        text, whole = (path.read_bytes() if path in files else b"" for path in (self.multirun, self.multirun_copy))
        return whole.startswith(text)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a sweep."""
        return self.multirun.is_file() or self.multirun_copy.is_file()

    def not_a_sweep(self, why: str) -> str:
        return f"{self} is not the directory of a sweep: its {self.multirun.name} {why}"

    def jobs(self) -> Iterator[RunDirectory]:
        """The jobs that were started, wherever below the folder `hydra.sweep.subdir` puts them."""
        inner = RunDirectory("").hydra_config
        for path in sorted(self.folder.rglob(str(inner))):
            yield RunDirectory(path.parents[len(inner.parts) - 1])


class SearchDirectory(Directory):
    """A search's directory: the study, what it came to, and a run directory for each trial, by its number."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        self.study = self.folder / "study.db"
        self.lock = self.folder / "study.lock"
        self.best = self.folder / "experiment" / "best.yaml"
        self.history = self.folder / "history.png"
        self.importances = self.folder / "importances.png"

    def trial(self, number: int) -> RunDirectory:
        return RunDirectory(self.folder / str(number))

    def running_lock(self, number: int) -> Path:
        """Held while a trial runs, so that others see whether its process is alive."""
        return self.trial(number).folder / "running.lock"


def is_whole(text: str) -> bool:
    """Whether the text of a saved configuration is as long as it was written. Files of earlier versions have no marks,
    and count as whole."""
    return FIRST not in text or LAST in text
