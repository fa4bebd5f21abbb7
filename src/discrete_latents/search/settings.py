"""A search as its command line describes it, checked before anything runs."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from discrete_latents.checks import positive, whole
from discrete_latents.config import instantiate
from discrete_latents.config.additions import check_additions
from discrete_latents.config.compose import configurations, dotted
from discrete_latents.config.composition_errors import composition_mistake
from discrete_latents.config.overrides import key, quoted
from discrete_latents.config.paths import set_from_start, verbatim
from discrete_latents.errors import UserError, suggest
from discrete_latents.search.space import distributions, literal
from discrete_latents.training import build, validate


@dataclass
class Search:
    """words: the overrides of every trial's run, as given. space: what is tried, by the name of the setting.
    settings: the group `search`, resolved; configs/search/default.yaml says what each is."""

    words: list[str]
    experiment: str
    space: dict[str, BaseDistribution]
    settings: DictConfig

    @property
    def folder(self) -> Path:
        return Path(self.settings.dir)

    def sampler(self, seed: int) -> BaseSampler:
        return make(self.settings, "sampler", seed=seed)

    def pruner(self) -> BasePruner:
        return make(self.settings, "pruner") if self.settings.pruner else NopPruner()

    def overrides(self, values: dict[str, Any]) -> list[str]:
        """The overrides of a run with these values of what is varied; choices are texts of the command line."""
        tried = [f"{name}={value if isinstance(value, str) else literal(value)}" for name, value in values.items()]
        return [*self.words, *tried]


def read(words: Sequence[str]) -> Search:
    """The search of a command line. Raises UserError for one that cannot work, down to building the experiment."""
    with configurations():
        config = composed(lambda: compose("search", list(words), return_hydra_config=True))
        settings = composed(lambda: OmegaConf.create(OmegaConf.to_container(config.search, resolve=True)))
        check(settings)
        check_additions(config, words, config.hydra.runtime.choices)
        settings.dir = verbatim(os.path.expanduser(str(settings.dir)))
        search = Search(
            words=[word for word in words if key(word).split(".")[0] != "search"],
            experiment=config.hydra.runtime.choices.experiment,
            space=distributions(OmegaConf.to_container(settings.space)),  # type: ignore[arg-type]
            settings=settings,
        )
        checkpoint = (config.get("callbacks") or {}).get("checkpoint") or {}
        for name, wanted in (("monitor", settings.metric), ("mode", settings.direction[:3])):
            if checkpoint.get(name, wanted) != wanted:
                search.words.append(f"callbacks.checkpoint.{name}={wanted}")
        output = f"paths.output_dir={quoted(verbatim(str(search.folder.absolute())))}"
        experiment = composed(lambda: compose("train", [*search.words, output]))
        set_from_start(experiment, Path.cwd())
        check_space(search, set(dotted(OmegaConf.to_container(experiment))))
        rehearse(experiment, settings.metric)
    return search


def check(settings: DictConfig) -> None:
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
    """Raises UserError for a sampler, a pruner, an option or a setting that is not there, of `settings`."""
    search.sampler(0)
    search.pruner()
    first: dict[str, Any] = {}
    for name in search.space.keys() & {key(word) for word in search.words}:
        raise UserError(f"search.space: {name} cannot be varied and set as well")
    for name, distribution in search.space.items():
        choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
        options = GlobalHydra.instance().config_loader().get_group_options(name)
        for choice in choices if options else ():
            if choice not in options:
                raise UserError(f"search.space: {name} = {choice} is not an option: {suggest(str(choice), options)}")
        first[name] = choices[0] if choices else distribution.low  # type: ignore[attr-defined]
    try:
        config = composed(lambda: compose("train", search.overrides(first)), settings)
    except UserError as error:
        raise UserError(f"search.space: {error}") from error
    used = build.without_unused_temperature(config).temperature
    for name in search.space:
        group, _, setting = name.partition(".")
        if group == "temperature" and setting and setting not in used:
            raise UserError(f"search.space: {name} is not used by {used._target_.split('.')[-1]}")


def rehearse(config: DictConfig, metric: str) -> None:
    """Builds all that a run builds and validates one batch, so that what is wrong with every trial is said once."""
    if config.resume is not None:
        raise UserError(f"resume = {config.resume} goes on with one run; a search goes on by the same command")
    validate.check(config)
    data = build.build_data(config)
    model = build.build_model(build.without_unused_temperature(config), data)
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


def composed(compose: Callable[[], Any], settings: set[str] | None = None) -> Any:
    """What is composed. Raises UserError in one line for what cannot be. settings: which could have been meant."""
    try:
        return compose()
    except (HydraException, OmegaConfBaseException) as error:
        GlobalHydra.instance().clear()  # the next line composes on its own
        raise UserError(composition_mistake(error, "search", settings or ())) from error


def make(settings: DictConfig, key: str, **arguments: Any) -> Any:
    try:
        return instantiate.make(settings, key, **arguments)
    except UserError as error:
        raise UserError(f"search.{error}") from error
