"""The entry points of train.py and eval.py."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.additions import check_additions
from discrete_latents.config.changes import Changes, changes_on_resume
from discrete_latents.config.compose import CONFIGS, chosen_names
from discrete_latents.config.composition_errors import composition_error, composition_mistake
from discrete_latents.config.config_tree import config_tree
from discrete_latents.config.migration import upgraded
from discrete_latents.config.overrides import argument, key, multirun, quoted, without_null
from discrete_latents.config.paths import path_argument, quote_path, quote_paths, set_from_start
from discrete_latents.config.printed_command import given
from discrete_latents.config.saved import saved_choices, use_saved_config, way_on
from discrete_latents.config.saved_secrets import hide_secrets, learn_overrides, restore_secrets
from discrete_latents.console import console, protect_streams
from discrete_latents.errors import Tracebacks, UserError, fail, in_own_code
from discrete_latents.process import embedded, prepare_process
from discrete_latents.runs.directory import RunDirectory, SweepDirectory
from discrete_latents.runs.lock import HELD, hold
from discrete_latents.runs.results_table import show
from discrete_latents.runs.train_log import kept_record
from discrete_latents.secrecy import learn_environment
from discrete_latents.stacked.member import Member
from discrete_latents.stacked.stack import STACK
from discrete_latents.sweep import sweep
from discrete_latents.sweep.job import run_job
from discrete_latents.sweep.processes import check_start, several_processes
from discrete_latents.training.evaluate import evaluate
from discrete_latents.training.new_run import claim_new, kept_once_trained, same_folder, taken_by_run
from discrete_latents.training.optimized_metric import optimized
from discrete_latents.training.train import Beginning, train
from discrete_latents.training.validate import check_stays_inside

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The disk is full, a quota or the largest size of a file is reached, or the disk can only be read."""
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ESTALE)
"""A folder or file is gone, is something else, or may not be written."""
show_once = rank_zero_only(show)
print_once = rank_zero_only(lambda config: console().print(config_tree(config)))


def train_main() -> Path | None:
    """`python train.py`, `discrete-latents-train`. Returns the folder of the run; None for a sweep."""
    begin()
    run, unfinished = path_argument("resume"), path_argument("sweep.resume")
    try:
        check_start()
    except UserError as error:
        fail(str(error))
    sweep.Sweep.resumed = unfinished is not None
    if unfinished is not None:
        sys.argv[1:] = sweep.resume_arguments(unfinished, sys.argv[1:])
    elif run is not None and "--config-path" not in sys.argv:  # processes that Lightning started have it
        if multirun():
            fail(f"resume = {run} goes on with one run, and -m starts many; sweep.resume=DIR goes on with a sweep")
        use_saved_config(run, output=run)
    return launch(train_task, "train")


def eval_main() -> Path | None:
    """`python eval.py`, `discrete-latents-eval`. Returns the folder of the evaluation."""
    begin()
    run = path_argument("run")
    if run is not None:
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
        use_saved_config(run, output=RunDirectory(run).evaluation(stamp).folder)
        values = {"run": str(run), "ckpt": argument("ckpt") or "best", "split": argument("split") or "test"}
        for name, value in values.items():
            sys.argv = [given for given in sys.argv if not given.startswith(f"{name}=")]
            sys.argv.append(quote_path(f"+evaluation.{name}={quoted(value)}"))
    return launch(eval_task, "eval")


def begin() -> None:
    """What both commands do before they look at their words."""
    given[:] = sys.argv[1:]
    protect_streams()
    learn_environment()
    learn_overrides(sys.argv[1:])
    Tracebacks.shown = argument("traceback") == "true"
    sys.argv[1:] = quote_paths(without_null(sys.argv[1:]))


def without_secrets(config: DictConfig) -> None:
    """Masks the secrets of a job's configuration in the files that Hydra has just saved, and in all text."""
    restore_secrets(config)
    if "LOCAL_RANK" in os.environ:
        return
    hydra = HydraConfig.get()
    own = [*Path(hydra.runtime.output_dir, hydra.output_subdir).glob("*.yaml")] if hydra.output_subdir else []
    sweeping = hydra.mode == RunMode.MULTIRUN
    hide_secrets(config, [*own, *([SweepDirectory(hydra.sweep.dir).multirun] if sweeping else [])])


def train_task(config: DictConfig) -> float:
    """Returns the run's `optimized_metric`, for sweepers."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        run_job(train_once, config)
        with suppress(UserError):
            return optimized(RunDirectory(HydraConfig.get().runtime.output_dir).read_results())
        return float("nan")
    if config.resume:
        start = Path(HydraConfig.get().runtime.cwd)  # the job may have moved elsewhere
        run = RunDirectory(config.resume if Path.cwd() == start else start / config.resume)
        go_on_alone(run)
        return train_once(config, changes_on_resume(run, upgraded(run.read_config()), config))
    run = RunDirectory(HydraConfig.get().runtime.output_dir)
    save = partial(run.save_config, config.copy(), HydraConfig.get())  # as it was composed, of absolute paths nothing
    return train_once(config, begins=partial(kept_once_trained, run, save))


def go_on_alone(run: RunDirectory) -> None:
    """Holds a run's directory until the command's end. Raises UserError where this command would write elsewhere, or
    another process holds it."""
    runtime = HydraConfig.get().runtime
    if not same_folder(Path(runtime.cwd, run), runtime.output_dir):
        raise UserError(f"resume = {run} goes on in its own folder, not in hydra.run.dir = {runtime.output_dir}")
    try:
        HELD.enter_context(hold(RunDirectory(runtime.output_dir)))
    except OSError as error:
        raise UserError(f"resume = {run} must be a folder that can be written: {error}") from error


def train_once(config: DictConfig, changes: Changes | None = None, begins: Beginning = nullcontext) -> float:
    start = prepare_config(config)
    if embedded.get() and several_processes(config.trainer):
        raise UserError(
            f"trainer.devices must be 1 where a run is trained from Python, got {config.trainer.get('devices')} and "
            f"strategy = {config.trainer.get('strategy')}; python train.py starts several processes"
        )
    # Started from a saved configuration, Hydra knows no chosen options; they are saved beside it.
    run = RunDirectory(config.resume or HydraConfig.get().runtime.output_dir)
    saved = config.resume or run.hydra_config.is_file()
    choices = saved_choices(run.folder) if saved else HydraConfig.get().runtime.choices
    if config.resume:
        check_stays_inside(config, {key(override) for override in HydraConfig.get().overrides.task})
    if config.get("print_config"):
        print_once(config)
    members = []
    if stack := STACK.get():
        config.compile = False  # the stack's program is another
        members.append(Member(stack))
    results = train(config, chosen_names(choices), members, changes=changes, begins=begins)
    show_once(results, RunDirectory(config.paths.output_dir), start)
    return optimized(results)


def eval_task(config: DictConfig) -> None:
    if "evaluation" not in config:
        raise UserError("run must be the directory of a finished run: python eval.py run=RUN_DIR")
    start = prepare_config(config)
    output = RunDirectory(HydraConfig.get().runtime.output_dir)
    if output.home is output:
        claim_new("hydra.run.dir", str(output))
    elif why := taken_by_run("hydra.run.dir", str(output)):  # the folder of this moment needs no lock
        raise UserError(why)
    chosen = config.evaluation
    run = Path(chosen.run)
    results = evaluate(config, RunDirectory(run), chosen.ckpt, chosen.split, chosen_names(saved_choices(run)))
    show_once(results, RunDirectory(config.paths.output_dir), start)


def prepare_config(config: DictConfig) -> Path:
    """Makes a job's configuration ready: its paths are set, and what was added to it is used.

    Returns the directory in which the command was started. Raises UserError as `check_additions` does, and for files of
    a run that would be written elsewhere than its configuration.
    """
    hydra = HydraConfig.get()
    set_from_start(config, hydra.runtime.cwd)
    if not same_folder(str(config.paths.output_dir), hydra.runtime.output_dir):
        raise UserError(
            f"paths.output_dir = {config.paths.output_dir} is not the folder of this command, "
            f"{hydra.runtime.output_dir}; leave it out"
        )
    check_additions(config, hydra.overrides.task, hydra.runtime.choices)
    return Path(hydra.runtime.cwd)


def is_below(path: object, folder: str) -> bool:
    """Whether a path of an error is a folder or in it."""
    return isinstance(path, str) and Path(path).absolute().is_relative_to(Path(folder).absolute())


@contextmanager
def one_line_mistakes(config: DictConfig) -> Iterator[None]:
    """Ends a job with one line for a mistake of the user, Ctrl-C, a disk that is full and a folder that is gone."""
    try:
        yield
    except KeyboardInterrupt:
        if sweep.Sweep.directory:  # whose end says how it goes on
            raise
        fail("; ".join(filter(None, ("interrupted", way_on(str(config.paths.output_dir))))))
    except UserError as error:
        fail(str(error))
    except OmegaConfBaseException as error:
        if in_own_code(error):
            raise
        fail(composition_error(str(error), ()))
    except OSError as error:
        run = str(config.paths.output_dir)
        if isinstance(error, PermissionError) and not is_below(error.filename, run):
            fail(f"{error.filename}: {error.strerror}")
        if error.errno not in NO_ROOM and not (error.errno in NO_FOLDER and is_below(error.filename, run)):
            raise
        fail(f"{run} cannot be written any more: {error}")


def launch(task: Callable[[DictConfig], float | None], config_name: str) -> Path | None:
    """Runs a task under Hydra. A UserError becomes one line on stderr and exit code 1; a bug keeps its traceback.

    Returns the folder that the task wrote into; None for the jobs of a sweep.
    """
    composed = False
    folder = None

    def job(config: DictConfig) -> float | None:
        nonlocal composed, folder
        composed = True
        folder = Path(HydraConfig.get().runtime.output_dir)
        prepare_process()
        without_secrets(config)
        with kept_record(RunDirectory(folder).log, at_once=not config.get("resume")), one_line_mistakes(config):
            return task(config)

    parser = get_args_parser()
    parser.error = lambda message: fail(f"{message}; settings are name=value, and --help lists them")
    parser.parse_args()  # before Hydra does, which would print its usage
    prepare_process()
    sweep.Sweep.directory = None
    try:
        with HELD:
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(job)()
    except KeyboardInterrupt:
        fail(f"interrupted; {sweep.resume_hint()}" if sweep.Sweep.directory else "interrupted")
    except SIGTERMException:
        if sweep.Sweep.directory:
            print(f"the sweep has stopped; {sweep.resume_hint()}", file=sys.stderr)
        raise
    except Exception as error:
        ours = isinstance(error, HydraException | OmegaConfBaseException) and not (composed and in_own_code(error))
        if ours or not (composed or sweep.Sweep.directory):
            fail(composition_mistake(error, config_name))
        if sweep.Sweep.directory:  # such as a launcher that lost its worker
            print(f"the sweep has stopped; {sweep.resume_hint()}", file=sys.stderr)
        raise
    if not sweep.Sweep.directory:
        return folder
    try:
        sweep.report()
    except UserError as error:
        fail(str(error))
    return None
