"""The project's configurations: their folder, their groups and settings, and one composed."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from discrete_latents.config.overrides import without_null

PACKAGE = Path(__file__).parent.parent
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent.parent / "configs") if path.is_dir())
"""In an installed wheel inside the package, in a checkout beside src."""


def chosen_names(choices: Mapping[str, Any]) -> dict[str, str]:
    """The names that results give to a run's experiment, estimator, model and network, of the options that Hydra chose.

    Without an experiment, it is "default"; several are joined. A model or data of the user's own are no experiment of
    this package: their names stand for it. A model may have no network.

    >>> chosen_names({"experiment": None, "latent": "rloo", "model": "categorical_vae", "model/network": "mlp"})
    {'experiment': 'default', 'latent': 'rloo', 'model': 'categorical_vae', 'network': 'mlp'}
    >>> chosen_names({"experiment": "vae_digits", "latent": "rloo", "model": "mine", "data": "digits"})
    {'experiment': 'mine', 'latent': 'rloo', 'model': 'mine'}
    """
    parts = {name: choices.get(group) for name, group in {"model": "model", "network": "model/network"}.items()}
    experiment = choices.get("experiment")
    experiments = list(experiment) if isinstance(experiment, list | tuple | ListConfig) else [experiment or "default"]
    if all(is_own("experiment", name) for name in experiments):
        experiments = [
            choices[group] for group in ("model", "data") if not is_own(group, choices.get(group))
        ] or experiments
    return {
        "experiment": "+".join(map(str, experiments)),
        "latent": str(choices.get("latent")),
        **{name: str(option) for name, option in parts.items() if option is not None},
    }


def is_own(group: str, option: Any) -> bool:
    """Whether an option of a group is this package's."""
    return option in (None, "default") or (CONFIGS / group / f"{option}.yaml").is_file()


def experiment_name(*, _root_: DictConfig) -> str:
    return chosen_names(_root_.hydra.runtime.choices)["experiment"]


OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
"""`${experiment_name:}` in the folders of runs, sweeps and searches."""


def configurations() -> initialize_config_dir:
    """A context in which Hydra is initialised with the project's configurations, for what asks Hydra more than once."""
    return initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="train")


@contextmanager
def with_options_of(folders: Iterable[str]) -> Iterator[None]:
    """The same, with the options of further folders in front, as `--config-dir` has them."""
    path = create_config_search_path(str(CONFIGS))
    for folder in folders:
        path.prepend("command-line", f"file://{Path(folder).absolute()}", SearchPathQuery(provider="schema"))
    version.setbase("1.3")
    Hydra.create_main_hydra2("train", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def composed(overrides: Sequence[str] = (), name: str = "train", **how: Any) -> DictConfig:
    """The configuration that overrides choose, as a command with these arguments has it.

    name: train, eval or search. how: further arguments of Hydra's `compose`. Uses Hydra as it is where it is
    initialised already, with its search path, say. Raises HydraException for what cannot be composed.
    """
    with nullcontext() if GlobalHydra.instance().is_initialized() else configurations():
        return compose(name, without_null(overrides), **how)


def group_options() -> dict[str, list[str]]:
    """The options of each group, by the group's name, as model/network."""
    folders = [path for path in CONFIGS.rglob("*") if path.is_dir()]
    options = {str(path.relative_to(CONFIGS)): sorted(file.stem for file in path.glob("*.yaml")) for path in folders}
    return {group: names for group, names in options.items() if names}


def estimator_options() -> list[str]:
    """The options of `latent` without the quantisers, which are no estimators."""
    texts = {path.stem: path.read_text() for path in (CONFIGS / "latent").glob("*.yaml")}
    return sorted(name for name, text in texts.items() if "discrete_latents.quantizers." not in text)


def known_settings(config_name: str, groups: Iterable[str], overrides: Iterable[str]) -> set[str]:
    """All dotted keys of a configuration with the options that overrides choose."""
    return set(dotted(OmegaConf.to_container(composed_with_options(config_name, groups, overrides))))


def composed_with_options(config_name: str, groups: Iterable[str], overrides: Iterable[str]) -> DictConfig:
    """A configuration with the options that overrides choose, also from this command's `--config-dir`, and none of
    their settings."""
    chosen = [override for override in overrides if override.partition("=")[0] in set(groups)]
    folder = get_args_parser().parse_known_args(sys.argv[1:])[0].config_dir
    started = GlobalHydra.instance().is_initialized()
    try:
        with nullcontext() if folder is None or started else with_options_of([folder]):
            return composed(chosen, config_name)
    except (Exception, SystemExit):  # a choice may be what cannot be composed
        return composed((), config_name)


def dotted(node: Any, prefix: str = "") -> list[str]:
    """All keys below a node that a user may set, as a.b.c."""
    if not isinstance(node, dict):
        return []
    keys = [key for key in node if not key.startswith("_")]
    return [name for key in keys for name in (f"{prefix}{key}", *dotted(node[key], f"{prefix}{key}."))]
