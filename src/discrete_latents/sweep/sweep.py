"""Sweeps: many jobs from one command line, of which some may fail, and what they came to."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discrete_latents.config.overrides import key, quoted
from discrete_latents.config.paths import verbatim
from discrete_latents.config.printed_command import command, setting
from discrete_latents.errors import UserError, fail, one_line
from discrete_latents.runs.results_table import show_sweep
from discrete_latents.sweep.job import DONE, results
from discrete_latents.sweep.processes import check_launcher


@dataclass
class Job:
    """A job of a sweep. folder, results: where it was started, None and empty before that."""

    number: int
    words: list[str]
    folder: Path | None
    results: dict[str, Any]

    @property
    def status(self) -> str:
        return self.results.get("status", "not finished" if self.folder else "not started")


class Sweep(Callback):
    """What Hydra is to do before a sweep: check it, and keep where it is and which jobs it has, for the report.

    Ends the command where the launcher cannot run such jobs, and where the jobs that were started are those of another
    sweep.
    """

    folder: ClassVar[Path | None] = None
    words: ClassVar[list[list[str]]] = []
    """The overrides of each job."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        try:
            jobs = expanded(hydra)
        except HydraException:  # the sweeper is about to say it
            return
        try:
            check_launcher(config.trainer, hydra.launcher)
        except UserError as error:
            fail(str(error))
        Sweep.folder, Sweep.words = Path(hydra.sweep.dir), jobs
        for number, (folder, words) in started(Sweep.folder).items():
            if [own(job) for job in jobs[number : number + 1]] != [own(words)]:
                fail(
                    f"{folder} was started with {' '.join(words)}, which is not job {number} any more: the options "
                    "that the sweep takes have changed"
                )

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Hydra keeps what every job returned until the last is done: without its configurations, 0.2 MB."""
        job_return.cfg = job_return.hydra_cfg = None

    @classmethod
    def jobs(cls) -> list[Job]:
        """All jobs, as they are now."""
        assert cls.folder is not None
        folders = {number: folder for number, (folder, _) in started(cls.folder).items()}
        found = [(number, words, folders.get(number)) for number, words in enumerate(cls.words)]
        return [Job(*job, results=results(job[-1]) if job[-1] else {}) for job in found]


def expanded(hydra: DictConfig) -> list[list[str]]:
    """The overrides of every job that Hydra's sweeper makes of a configuration."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    params = [f"{name}={value}" for name, value in (hydra.sweeper.get("params") or {}).items()]
    overrides = parser.parse_overrides([*params, *texts(hydra.overrides.task)])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs


def started(folder: Path) -> dict[int, tuple[Path, list[str]]]:
    """The directories and overrides of the jobs that were started, by their number."""
    jobs = {}
    for file in sorted(folder.rglob(".hydra/hydra.yaml")):
        try:
            hydra = OmegaConf.load(file).hydra
            jobs[hydra.job.num] = file.parent.parent, texts(hydra.overrides.task)
        except (OmegaConfBaseException, YAMLError):  # cut off where its process was killed
            continue
    return jobs


def texts(words: ListConfig) -> list[str]:
    """Overrides as they were given, whatever ${…} they hold."""
    return OmegaConf.to_container(words, resolve=False)  # type: ignore[return-value]


def own(words: Sequence[str]) -> list[str]:
    """The overrides that say what a job is, and not how it is launched."""
    return [word for word in words if key(word) != "launcher" and not key(word).startswith(("hydra.", "hydra/"))]


def resuming(folder: Path, words: Sequence[str]) -> list[str]:
    """The command line that finishes the sweep of a directory, given the words of the one that asks for it. Of those,
    only the launcher and Hydra's own can differ from what was saved. Ends the command for a directory that is no
    sweep."""
    if not (folder / "multirun.yaml").is_file():
        fail(f"sweep.resume = {folder} is not the directory of a sweep: it has no multirun.yaml")
    given = [word for word in words if word not in ("-m", "--multirun") and key(word) != "sweep.resume"]
    if refused := own(given):
        fail(f"{refused[0]}: a sweep keeps its own settings; only how it is launched can change, as launcher=joblib")
    saved = OmegaConf.load(folder / "multirun.yaml").hydra
    fixed = {
        "hydra.mode": "hydra.mode=MULTIRUN",
        "hydra.sweep.dir": f"hydra.sweep.dir={quoted(verbatim(str(folder)))}",
        "hydra.output_subdir": "hydra.output_subdir=null",  # the configurations of started jobs stay as they are
    }
    replaced = {*fixed, *(key(word) for word in given)}
    kept = [*texts(saved.overrides.hydra), *texts(saved.overrides.task)]
    if replaced & {"launcher", "hydra/launcher"}:
        replaced |= {"launcher", "hydra/launcher"}
        kept = [word for word in kept if not key(word).startswith("hydra.launcher.")]
    kept = [word for word in kept if key(word) not in replaced]
    folders = [source.path for source in saved.runtime.config_sources if source.provider == "command-line"]
    flags = ["--config-name", saved.job.config_name, *(word for path in folders for word in ("--config-dir", path))]
    return [*flags, *fixed.values(), *kept, *given]


def report() -> None:
    """Shows what the jobs of the sweep came to. Ends the command, with one line for each job that failed, or one for
    all where they failed alike."""
    jobs = Sweep.jobs()
    common = set.intersection(*(set(job.words) for job in jobs))
    varied = {job.number: " ".join(word for word in job.words if word not in common) for job in jobs}
    show_sweep(str(Sweep.folder), [(job.number, varied[job.number], job.results, job.status) for job in jobs])
    reasons = {job.number: job.results["error"] for job in jobs if job.status == "not applicable"}
    if len(reasons) == len(jobs):
        fail(f"no job of the sweep is applicable: {reasons[0]}")
    for number, reason in reasons.items():
        print(one_line(f"job {number} ({varied[number]}) is not applicable: {reason}"))
    open_jobs = [job for job in jobs if job.status not in DONE]
    if not open_jobs:
        return
    print(f"{len(open_jobs)} of {len(jobs)} jobs are not completed; {hint()}")
    errors = {job.number: job.results["error"] for job in jobs if job.status == "failed"}
    if len(errors) == len(jobs) and len(set(errors.values())) == 1:
        fail(f"all {len(jobs)} jobs failed: {errors[0]}")
    for number, error in errors.items():
        said = f"error: job {number} ({varied[number]}) failed: {error} ({jobs[number].folder})"
        print(one_line(said), file=sys.stderr)
    sys.exit(1)


def hint() -> str:
    """How to finish the sweep."""
    return f"to go on: {command('python', 'train.py', setting('sweep.resume', Sweep.folder or ''))}"
