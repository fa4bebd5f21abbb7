"""The command lines of train.py and eval.py."""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from discrete_latents import distributed, sweep, training
from discrete_latents.command_line import argument, fail, key, multirun, quoted, saved_config
from discrete_latents.errors import UserError, composition_error
from discrete_latents.job import run_job
from discrete_latents.summary import show

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
show_once = rank_zero_only(show)
PACKAGE = Path(__file__).parent
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent.parent / "configs") if path.is_dir())
"""Inside an installed wheel, or beside src in a checkout."""


def train_main() -> None:
    """`python train.py`, `discrete-latents-train`."""
    run, folder = argument("resume"), argument("hydra.run.dir")
    unfinished, sweep_folder = argument("sweep.resume"), argument("hydra.sweep.dir")
    try:
        distributed.check_start()
    except UserError as error:
        fail(str(error))
    if unfinished not in (None, "null"):
        sys.argv[1:] = sweep.resuming(Path(unfinished), sys.argv[1:])
    elif run not in (None, "null") and "--config-path" not in sys.argv:  # which a process of the run has already
        if multirun():
            fail(f"resume = {run} goes on with one run, and -m starts many; sweep.resume=DIR goes on with a sweep")
        use_saved_config(Path(run), output=Path(run))
    elif multirun() and sweep_folder and (Path(sweep_folder) / "multirun.yaml").exists():
        fail(
            f"hydra.sweep.dir = {sweep_folder} holds a sweep already; name another folder, or finish it with "
            f"sweep.resume={sweep_folder}"
        )
    elif folder and (Path(folder) / ".hydra").exists() and "LOCAL_RANK" not in os.environ:
        fail(f"hydra.run.dir = {folder} holds a run already; name another folder, or continue it with resume={folder}")
    launch(train_task, "train")


def eval_main() -> None:
    """`python eval.py`, `discrete-latents-eval`."""
    run = argument("run")
    if run is not None:
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
        use_saved_config(Path(run), output=Path(run) / "evaluations" / stamp)
        for name, default in (("run", run), ("ckpt", "best"), ("split", "test")):
            value = argument(name) or default
            sys.argv = [word for word in sys.argv if not word.startswith(f"{name}=")]
            sys.argv.append(f"+evaluation.{name}={quoted(value)}")
    launch(eval_task, "eval")


def train_task(config: DictConfig) -> None:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        run_job(train_once, config)
    else:
        train_once(config)


def train_once(config: DictConfig) -> None:
    # Where Hydra starts from a saved configuration, only what was saved beside it says what was chosen.
    folder = Path(config.resume or HydraConfig.get().runtime.output_dir)
    saved = (folder / ".hydra" / "hydra.yaml").is_file()
    results = training.train(config, saved_choices(folder) if saved else HydraConfig.get().runtime.choices)
    show_once(results, Path(config.paths.output_dir))


def eval_task(config: DictConfig) -> None:
    if "evaluation" not in config:
        raise UserError("run must be the directory of a finished run: python eval.py run=RUN_DIR")
    chosen = config.evaluation
    run = Path(chosen.run)
    results = training.evaluate(config, run, chosen.ckpt, chosen.split, saved_choices(run))
    show_once(results, Path(config.paths.output_dir))


def launch(task: Callable[[DictConfig], None], config_name: str) -> None:
    """Runs a task under Hydra. A user's mistake is one line on stderr and exit code 1; anything else is a bug
    and keeps its traceback."""
    composed = False

    def job(config: DictConfig) -> None:
        nonlocal composed
        composed = True
        prepare_process()
        try:
            task(config)
        except UserError as error:
            fail(str(error))
        except OmegaConfBaseException as error:
            fail(composition_error(str(error), ()))
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            fail(f"{config.paths.output_dir} cannot be written any more: {error}")

    parser = get_args_parser()
    parser.error = lambda message: fail(f"{message}; settings are name=value, and --help lists them")
    parser.parse_args()  # as Hydra is about to, which would print how it is used
    prepare_process()
    sweep.Sweep.folder = None
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(job)()
    except KeyboardInterrupt:
        fail(f"interrupted; {sweep.hint()}" if sweep.Sweep.folder else "interrupted")
    except Exception as error:
        if isinstance(error, HydraException | OmegaConfBaseException) or not (composed or sweep.Sweep.folder):
            fail(composition_mistake(error, config_name))
        if sweep.Sweep.folder:  # a launcher that lost its worker, say
            print(f"the sweep has stopped; {sweep.hint()}", file=sys.stderr)
        raise
    if sweep.Sweep.folder:
        sweep.report()


def prepare_process() -> None:
    """Settings of a process, be it a launcher's, before it does anything else."""
    # Per thread, and inherited by the threads of the first parallel operation: so before any.
    torch.set_flush_denormal(True)
    if not torch.cuda.is_available():
        # Lightning has torch look for the GPU driver's library, and optimisers ask for a GPU at every step: 0.4 ms.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # what debug=profiler prints
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # Lightning's own, at every fit
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # a resumed run's checkpoints
    warnings.filterwarnings("ignore", ".*dirpath has changed.*")  # those of a run that was moved
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands its errors on instead of printing them


def use_saved_config(run: Path, output: Path) -> None:
    """Makes Hydra start from a run's own saved configuration, write into `output`, and keep the saved files."""
    saved = run.absolute() / ".hydra"
    for name, part in (("config.yaml", "model"), ("hydra.yaml", "hydra")):
        if not (saved / name).is_file():
            fail(f"{run} is not the directory of a run: it has no .hydra/{name}")
        try:
            readable = part in OmegaConf.load(saved / name)
        except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException):
            readable = False
        if not readable:
            fail(f"{run} is not the directory of a run: its .hydra/{name} cannot be read")
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"hydra"}
    for word in sys.argv[1:]:
        group, value = key(word), word.partition("=")[2]
        if group.split("/")[0] in groups and not value.startswith("{"):
            kept = f"a run keeps its own {group}; single settings can change, as trainer.max_epochs=20"
            fail(f"{group} = {value}: {kept}")
    sys.argv = [sys.argv[0], *saved_config(run, output), *sys.argv[1:]]


def saved_choices(run: Path) -> Mapping[str, str]:
    """The options by which a run was configured, group by group."""
    return OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices


def composition_mistake(error: Exception, config_name: str, settings: Iterable[str] = ()) -> str:
    """What Hydra says of a configuration that it cannot compose, in one line. settings: which could have been meant,
    where those of the command line are not known."""
    options = group_options()
    known = options.keys() | set(settings or known_settings(config_name, options))
    return composition_error(f"{error}\n{error.__cause__ or ''}", known, options, sys.argv[1:])


def group_options() -> dict[str, list[str]]:
    """The options of every group of the project."""
    folders = [path for path in CONFIGS.rglob("*") if path.is_dir()]
    options = {str(path.relative_to(CONFIGS)): sorted(file.stem for file in path.glob("*.yaml")) for path in folders}
    return {group: names for group, names in options.items() if names}


def known_settings(config_name: str, groups: Iterable[str]) -> set[str]:
    """Every dotted key of the run's configuration, or of the one with the options chosen on the command line."""
    run = argument("run") or argument("evaluation.run") or argument("resume")
    if run and (Path(run) / ".hydra" / "config.yaml").is_file():
        return set(dotted(OmegaConf.to_container(OmegaConf.load(Path(run) / ".hydra" / "config.yaml"))))
    chosen = [word for word in sys.argv[1:] if word.partition("=")[0] in set(groups)]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        try:
            config = compose(config_name, chosen)
        except Exception:  # what was chosen is what could not be composed
            config = compose(config_name)
    return set(dotted(OmegaConf.to_container(config)))


def dotted(node: Any, prefix: str = "") -> list[str]:
    """All keys below a node that a user may set, as a.b.c."""
    if not isinstance(node, dict):
        return []
    keys = [key for key in node if not key.startswith("_")]
    return [name for key in keys for name in (f"{prefix}{key}", *dotted(node[key], f"{prefix}{key}."))]
