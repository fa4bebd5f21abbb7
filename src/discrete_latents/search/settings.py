"""The settings of a search, from its command line, checked before a trial runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from discrete_latents.checks import positive, whole
from discrete_latents.config.additions import check_additions
from discrete_latents.config.compose import chosen_names, composed, configurations, dotted
from discrete_latents.config.composition_errors import one_line_errors
from discrete_latents.config.instantiate import make
from discrete_latents.config.overrides import key, without_null
from discrete_latents.config.paths import path_override, set_from_start, verbatim
from discrete_latents.errors import UserError, suggest
from discrete_latents.runs.directory import SearchDirectory
from discrete_latents.search.space import distributions, literal
from discrete_latents.training import build, validate


@dataclass
class Search:
    """What a search varies, and how.

    overrides: of every trial, as given. space: the distributions to draw from, by the name of the setting. settings:
    the group `search`, resolved; configs/search/default.yaml explains each.
    """

    overrides: list[str]
    experiment: str
    space: dict[str, BaseDistribution]
    settings: DictConfig

    @property
    def directory(self) -> SearchDirectory:
        return SearchDirectory(self.settings.dir)

    def sampler(self, seed: int) -> BaseSampler:
        return search_part(self.settings, "sampler", seed=seed)

    def pruner(self) -> BasePruner:
        return search_part(self.settings, "pruner") if self.settings.pruner else NopPruner()

    def trial_overrides(self, values: dict[str, Any]) -> list[str]:
        """The overrides of a trial. values: of the settings in `space`; a choice is text as on a command line."""
        tried = [f"{name}={value if isinstance(value, str) else literal(value)}" for name, value in values.items()]
        return [*self.overrides, *tried]


def read_search(overrides: Sequence[str]) -> Search:
    """The search of a command line. Raises UserError if it cannot work; builds and validates the experiment once."""
    overrides = without_null(overrides)
    with configurations():
        with one_line_errors("search"):
            config = composed(overrides, "search", return_hydra_config=True)
            settings: Any = OmegaConf.create(OmegaConf.to_container(config.search, resolve=True))
        check_search(settings)
        check_additions(config, overrides, config.hydra.runtime.choices)
        settings.dir = verbatim(os.path.expanduser(str(settings.dir)))
        search = Search(
            overrides=[override for override in overrides if key(override).split(".")[0] != "search"],
            experiment=chosen_names(config.hydra.runtime.choices)["experiment"],
            space=distributions(OmegaConf.to_container(settings.space)),  # type: ignore[arg-type]
            settings=settings,
        )
        checkpoint = (config.get("callbacks") or {}).get("checkpoint") or {}
        for name, wanted in (("monitor", settings.metric), ("mode", settings.direction[:3])):
            if checkpoint.get(name, wanted) != wanted:
                search.overrides.append(f"callbacks.checkpoint.{name}={wanted}")
        output = path_override("paths.output_dir", search.directory.folder.absolute())
        with one_line_errors("search"):
            experiment = composed([*search.overrides, output])
        set_from_start(experiment, Path.cwd())
        check_space(search, set(dotted(OmegaConf.to_container(experiment))))
        rehearse(experiment, settings.metric)
    return search


def check_search(settings: DictConfig) -> None:
    """Raises UserError for settings of the group `search` that are out of range."""
    if settings.direction not in ("minimize", "maximize"):
        raise UserError(f"search.direction must be minimize or maximize, got {settings.direction!r}")
    if not str(settings.metric).startswith("val/"):
        raise UserError(f"search.metric must be one of validation, as val/nelbo, got {settings.metric!r}")
    try:
        whole("search.trials", settings.trials)
        whole("search.workers", settings.workers)
        whole("search.seed", settings.seed, least=0)
        if settings.timeout is not None:
            positive("search.timeout", settings.timeout)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_space(search: Search, settings: set[str]) -> None:
    """Raises UserError for a sampler, a pruner, an option, or a setting not in `settings`, that does not exist."""
    search.sampler(0)
    search.pruner()
    first: dict[str, Any] = {}
    chosen: dict[str, Sequence[Any]] = {}
    for name in search.space.keys() & {key(override) for override in search.overrides}:
        raise UserError(f"search.space: {name} cannot be varied and set as well")
    for name, distribution in search.space.items():
        choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
        options = GlobalHydra.instance().config_loader().get_group_options(name)
        for choice in choices if options else ():
            if choice not in options:
                raise UserError(f"search.space: {name} = {choice} is not an option: {suggest(str(choice), options)}")
        chosen |= {name: choices} if options else {}
        first[name] = choices[0] if choices else distribution.low  # type: ignore[attr-defined]
    others = [first | {name: option} for name, options in chosen.items() for option in options[1:]]
    for values in [first, *others]:  # what one option has, such as temperature.rate, another may not
        try:
            with one_line_errors("search", settings):
                composed(search.trial_overrides(values))
        except UserError as error:
            raise UserError(f"search.space: {error}") from error


def rehearse(config: DictConfig, metric: str) -> None:
    """Builds a run and validates one batch. Raises UserError for what would fail every trial."""
    if config.resume is not None:
        raise UserError(f"resume = {config.resume} goes on with one run; a search goes on by the same command")
    validate.check_settings(config)
    data = build.build_data(config)
    model = build.build_model(config, data)
    trainer = build.build_trainer(config, checkpoints=False)
    if trainer.num_devices * trainer.num_nodes > 1:
        raise UserError(
            f"trainer.devices = {config.trainer.devices}: a trial is one process; search.workers runs several at once"
        )
    trainer.logger, trainer.callbacks = None, []  # type: ignore[attr-defined]
    trainer.limit_val_batches = 1
    trainer.validate(model, datamodule=data, verbose=False)
    if metric not in trainer.callback_metrics:
        raise UserError(f"search.metric must be one of {', '.join(sorted(trainer.callback_metrics))}, got {metric!r}")


def search_part(settings: DictConfig, key: str, **arguments: Any) -> Any:
    """The sampler or the pruner. Raises UserError, naming the setting, if it refuses its settings."""
    try:
        return make(settings, key, **arguments)
    except UserError as error:
        raise UserError(f"search.{error}") from error
