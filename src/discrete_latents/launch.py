"""The command lines of train.py and eval.py."""

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
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from discrete_latents import training
from discrete_latents.errors import UserError, composition_error
from discrete_latents.summary import show

show_once = rank_zero_only(show)
PACKAGE = Path(__file__).parent
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent.parent / "configs") if path.is_dir())
"""Inside an installed wheel, or beside src in a checkout."""


def train_main() -> None:
    """`python train.py`, `discrete-latents-train`."""
    run, folder = argument("resume"), argument("hydra.run.dir")
    if run not in (None, "null"):
        use_saved_config(Path(run), output=Path(run))
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
    if HydraConfig.get().mode == RunMode.MULTIRUN and str(config.trainer.get("strategy", "")).startswith("ddp"):
        raise UserError(
            f"trainer.strategy = {config.trainer.strategy} does not work in a multirun yet (its processes would each "
            "run the whole sweep); start the runs one by one"
        )
    names = saved_choices(Path(config.resume)) if config.resume else HydraConfig.get().runtime.choices
    results = training.train(config, names)
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
        try:
            task(config)
        except UserError as error:
            fail(str(error))

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
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(job)()
    except Exception as error:
        if composed and not isinstance(error, HydraException | OmegaConfBaseException):
            raise
        options = group_options()
        settings = options.keys() | known_settings(config_name, options)
        fail(composition_error(f"{error}\n{error.__cause__ or ''}", settings, options))


def fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def argument(name: str) -> str | None:
    """The value of `name=value` on the command line."""
    values = [word.partition("=")[2] for word in sys.argv[1:] if word.lstrip("+").startswith(f"{name}=")]
    return values[-1].strip("'\"") if values else None


def quoted(value: str | Path) -> str:
    """A value that Hydra's grammar takes as it is."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def use_saved_config(run: Path, output: Path) -> None:
    """Makes Hydra start from a run's own saved configuration, write into `output`, and keep the saved files."""
    saved = run.absolute() / ".hydra"
    if not (saved / "config.yaml").is_file():
        fail(f"{run} is not the directory of a run: it has no .hydra/config.yaml")
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    for word in sys.argv[1:]:
        key, _, value = word.partition("=")
        if key.lstrip("+~").split("/")[0] in groups and not value.startswith("{"):
            fail(f"{key} = {value}: a run keeps its own {key}; single settings can change, as trainer.max_epochs=20")
    options = ["--config-path", str(saved), "--config-name", "config"]
    hydra_settings = [
        f"hydra.run.dir={quoted(output.absolute())}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]
    sys.argv = [sys.argv[0], *options, *hydra_settings, *sys.argv[1:]]


def saved_choices(run: Path) -> Mapping[str, str]:
    """The options by which a run was configured, group by group."""
    return OmegaConf.load(run / ".hydra" / "hydra.yaml").hydra.runtime.choices


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
