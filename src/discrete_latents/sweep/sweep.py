"""A sweep: many jobs from one command line. A failed job does not stop it; failures are listed at the end."""

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.atomic_write import atomic_write
from discrete_latents.config.allowed_targets import packages_to_trust
from discrete_latents.config.overrides import key
from discrete_latents.config.paths import path_override
from discrete_latents.config.printed_command import command, program, setting, shell_word, trust_words
from discrete_latents.config.saved import trusted
from discrete_latents.config.saved_secrets import hand_over_secrets
from discrete_latents.errors import UserError, fail, first_line, one_line
from discrete_latents.runs.directory import RunDirectory, SweepDirectory
from discrete_latents.runs.lock import claim
from discrete_latents.runs.results_table import show_sweep
from discrete_latents.secrecy import MASK, masked
from discrete_latents.sweep.job import DONE, unresolved, without_launcher
from discrete_latents.sweep.processes import check_launcher, in_own_process
from discrete_latents.sweep.saved_sweep import check_sweep
from discrete_latents.training.new_run import hydra_config

PARTS = (("overrides", "task"), ("overrides", "hydra"), ("runtime", "config_sources"))
"""What of a sweep's saved configuration starts it again."""


@dataclass
class Job:
    """A job of a sweep. run, results: None and empty for a job that was not started."""

    number: int
    overrides: list[str]
    run: RunDirectory | None
    results: dict[str, Any]

    @property
    def status(self) -> str:
        return self.results.get("status", "not finished" if self.run else "not started")


class Sweep(Callback):
    """Hydra's callback before a sweep: checks it, and keeps its directory and its jobs for the report.

    Ends the command where the launcher cannot run such jobs, where jobs would share a folder, and where the directory
    is in use, holds another sweep, or jobs of another were started in it.
    """

    directory: ClassVar[SweepDirectory | None] = None
    resumed: ClassVar[bool] = False
    """Whether the command finishes a sweep that is in its directory."""
    overrides: ClassVar[list[list[str]]] = []
    """Of each job."""
    packages: ClassVar[set[str]] = set()
    """The user's own, which the command that goes on must trust."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        try:
            jobs = job_overrides(hydra)
        except HydraException:  # the sweeper will raise it again
            return
        try:
            directory = SweepDirectory(hydra.sweep.dir)
        except OmegaConfBaseException as error:
            fail(f"hydra.sweep.dir must be one folder for all jobs: {first_line(error)}")
        absolute = SweepDirectory(os.path.abspath(directory))  # a/../b is b, whatever a is
        with read_write(hydra):
            if not folder_varies(config):  # an experiment of a job names its own folder
                hydra.overrides.hydra.append(path_override("hydra.sweep.dir", directory))
        try:
            check_launcher(config.trainer, hydra.launcher)
            check_subdirs(config, jobs)
            if not in_own_process(hydra.launcher):
                hand_over_secrets(config)
            claim(absolute, lambda: taken(directory) if absolute.exists and not Sweep.resumed else None)
        except UserError as error:
            fail(str(error))
        except OSError as error:
            fail(f"hydra.sweep.dir must be a folder that can be written, got {str(directory)!r}: {error}")
        with read_write(hydra):
            hydra.overrides.hydra.append("hydra.output_subdir=null")  # a job saves its configuration itself
        Sweep.directory, Sweep.overrides = directory, jobs
        for number, (run, overrides) in started_jobs(Sweep.directory).items():
            if [without_launcher(job) for job in jobs[number : number + 1]] != [without_launcher(overrides)]:
                fail(
                    f"{run} was started with {' '.join(overrides)}, which is not job {number} any more: the options "
                    "that the sweep takes have changed"
                )
        saved = masked(OmegaConf.to_container(config))
        Sweep.packages = {*trusted(), *packages_to_trust({name: saved[name] for name in saved if name != "hydra"})}
        try:
            atomic_write(Sweep.directory.multirun_copy, OmegaConf.to_yaml(OmegaConf.create(saved)))
        except OSError as error:  # of which Hydra would only warn
            fail(f"{Sweep.directory} cannot be written: {error}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Deletes the copy of Hydra's file, which is whole by now."""
        if Sweep.directory:
            Sweep.directory.multirun_copy.unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Frees the configurations in what Hydra keeps of each job until the sweep ends: 0.2 MB a job."""
        job_return.cfg = job_return.hydra_cfg = None

    @classmethod
    def jobs(cls) -> list[Job]:
        """All jobs in their present state."""
        assert cls.directory is not None
        runs = {number: run for number, (run, _) in started_jobs(cls.directory).items()}
        found = [(number, overrides, runs.get(number)) for number, overrides in enumerate(cls.overrides)]
        return [Job(*job, results=results_of(job[-1]) if job[-1] else {}) for job in found]


def results_of(run: RunDirectory) -> dict[str, Any]:
    """A job's results. Damaged ones are a failure of this job and leave the others as they are."""
    try:
        return {"error": f"{run.results.name} does not say why"} | run.read_results()
    except UserError as error:
        return {"status": "failed", "error": str(error)}


def taken(directory: SweepDirectory) -> str:
    """What is wrong with a new sweep's directory in which there is one."""
    again = shell_word(setting("sweep.resume", directory))
    return f"hydra.sweep.dir = {directory} holds a sweep already; name another folder, or finish it with {again}"


def check_subdirs(config: DictConfig, jobs: Sequence[list[str]]) -> None:
    """Raises UserError where a job would not write into a folder of its own in the sweep's. Takes 0.1 s a job unless
    folders bear its number."""
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    subdir, directory = sweep["subdir"], os.path.realpath(config.hydra.sweep.dir)
    if not folder_varies(config) and re.search(r"\$\{hydra[:.]job\.num\}", str(subdir)):
        return
    loader = GlobalHydra.instance().config_loader()
    started: dict[str, int] = {}
    for number, overrides in enumerate(jobs):
        try:
            job = loader.load_sweep_config(config, list(overrides))
            with open_dict(job):
                job.hydra.job.num = job.hydra.job.id = number
            with hydra_config(job):
                own = os.path.realpath(str(job.hydra.sweep.dir))
                folder = os.path.realpath(os.path.join(own, str(job.hydra.sweep.subdir)))
        except (HydraException, OmegaConfBaseException):  # the launcher will raise it again
            return
        if own != directory:
            raise UserError(
                f"hydra.sweep.dir = {sweep['dir']}: job {number} ({' '.join(overrides)}) would be in {own}, which is "
                f"not the sweep's folder, {directory}; hydra.sweep.subdir names the folders of jobs"
            )
        if (other := started.setdefault(folder, number)) != number:
            raise UserError(
                f"hydra.sweep.subdir = {subdir}: jobs {other} ({' '.join(jobs[other])}) and {number} "
                f"({' '.join(overrides)}) would share the folder {folder}; leave it out, or name all that varies"
            )


def folder_varies(config: DictConfig) -> bool:
    """Whether a sweep's folder is named by settings that its jobs may set."""
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    return bool(
        re.search(r"\$\{(?!now:|experiment_name:|paths\.log_dir\}|oc\.env:|hydra[:.]runtime)", str(sweep["dir"]))
    )


def job_overrides(hydra: DictConfig) -> list[list[str]]:
    """The overrides of each job that Hydra's sweeper will run."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    params = [f"{name}={value}" for name, value in (hydra.sweeper.get("params") or {}).items()]
    overrides = parser.parse_overrides([*params, *unresolved(hydra.overrides.task)])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs


def started_jobs(directory: SweepDirectory) -> dict[int, tuple[RunDirectory, list[str]]]:
    """The directory and the overrides of each job that was started, by its number."""
    jobs = {}
    for run in directory.jobs():
        try:
            hydra = run.read_hydra()
        except UserError:  # its process was killed while it wrote the file
            continue
        number, overrides = OmegaConf.select(hydra, "job.num"), OmegaConf.select(hydra, "overrides.task")
        if number is None:  # it was started alone
            continue
        if type(number) is not int or number < 0 or not isinstance(overrides, ListConfig):
            fail(f"{run.hydra_config} is damaged: it must have the number and the overrides of a job")
        jobs[number] = run, unresolved(overrides)
    return jobs


def resume_arguments(folder: Path, arguments: Sequence[str]) -> list[str]:
    """The command line that finishes a sweep, from the one that asks for it.

    Of the saved command line only the launcher, Hydra's own settings and masked secrets can change. Ends the command
    for a directory that is no sweep, and for one that would run what no saved configuration may name.
    """
    sweep = SweepDirectory(folder)
    try:
        saved = sweep.read_hydra()
        task, own, sources = (OmegaConf.select(saved, ".".join(part)) for part in PARTS)
        if None in (task, own, sources) or "job" not in saved:
            raise UserError(sweep.not_a_sweep("is damaged: it does not say what was started"))
        if saved.get("job", {}).get("config_name", "train") != "train":
            raise UserError(f"{folder} is of another configuration than train: {saved.job.config_name}")
        folders = [source.path for source in sources if source.provider == "command-line"]
    except UserError as error:
        fail(f"sweep.resume = {error}")
    except (OmegaConfBaseException, TypeError, AttributeError):
        fail(f"sweep.resume = {sweep.not_a_sweep('is damaged: config_sources must be a list of sources')}")
    words = [*unresolved(own), *unresolved(task)]
    secret = {key(item): item.partition(key(item))[0] for item in words if item.endswith(f"={MASK}")}
    given = [item for item in arguments if item not in ("-m", "--multirun")]
    given = [item for item in given if key(item) not in ("sweep.resume", "trust")]
    if refused := [item for item in without_launcher(given) if key(item) not in secret]:
        fail(f"{refused[0]}: a sweep keeps its own settings; only how it is launched can change, as launcher=joblib")
    given = [secret[key(item)] + item.lstrip("+") if key(item) in secret else item for item in given]  # + as before
    fixed = {
        "hydra.mode": "hydra.mode=MULTIRUN",
        "hydra.sweep.dir": path_override("hydra.sweep.dir", folder),
        "hydra.output_subdir": "hydra.output_subdir=null",  # the configurations of started jobs stay as they are
    }
    replaced = {*fixed, *(key(item) for item in given), "trust"}
    kept = list(words)
    if replaced & {"launcher", "hydra/launcher"}:
        replaced |= {"launcher", "hydra/launcher"}
        kept = [item for item in kept if not key(item).startswith("hydra.launcher.")]
    kept = [item for item in kept if key(item) not in replaced]
    try:
        check_sweep(kept, folders, trusted())
    except UserError as error:
        fail(f"sweep.resume = {folder}: {error}")
    return [*(flag for path in folders for flag in ("--config-dir", path)), *fixed.values(), *kept, *given]


def report() -> None:
    """Prints a table of the sweep's jobs. If a job is not completed, lists the failures, one line each or one for all
    if they are the same, and ends the command with exit code 1."""
    jobs = Sweep.jobs()
    common = set.intersection(*(set(job.overrides) for job in jobs))
    varied = {job.number: " ".join(item for item in job.overrides if item not in common) for job in jobs}
    show_sweep(str(Sweep.directory), [(job.number, varied[job.number], job.results, job.status) for job in jobs])
    reasons = {job.number: job.results["error"] for job in jobs if job.status == "not applicable"}
    if len(reasons) == len(jobs):
        fail(f"no job of the sweep is applicable: {reasons[0]}")
    for number, reason in reasons.items():
        print(one_line(f"job {number} ({varied[number]}) is not applicable: {reason}"))
    unfinished = [job for job in jobs if job.status not in DONE]
    if not unfinished:
        return
    print(f"{len(unfinished)} of {len(jobs)} jobs are not completed; {resume_hint()}")
    errors = {job.number: job.results["error"] for job in jobs if job.status == "failed"}
    if len(errors) == len(jobs) and len(set(errors.values())) == 1:
        fail(f"all {len(jobs)} jobs failed: {errors[0]}")
    for number, error in errors.items():
        said = f"error: job {number} ({varied[number]}) failed: {error} ({jobs[number].run})"
        print(one_line(said), file=sys.stderr)
    sys.exit(1)


def resume_hint() -> str:
    """The command that finishes the sweep."""
    assert Sweep.directory is not None
    packages = Sweep.packages.copy()
    for run, _ in started_jobs(Sweep.directory).values():  # options that jobs choose
        with suppress(UserError):
            packages |= packages_to_trust(OmegaConf.to_container(run.read_config()))
    words = setting("sweep.resume", Sweep.directory), *trust_words(packages)
    return f"to go on: {command(*program('train'), *words)}"
