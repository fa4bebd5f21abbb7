"""What earlier versions wrote otherwise: moved classes, renamed settings, and the layout of a saved configuration.

Light to import: whoever reads old runs needs neither torch nor Lightning for it.
"""

import inspect
import re
from pkgutil import resolve_name
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

MOVED = {
    "discrete_latents.dashboards.WandbRun": "discrete_latents.loggers.WandbRun",
    "discrete_latents.metrics_csv.MetricsCSV": "discrete_latents.loggers.MetricsCSV",
    "discrete_latents.networks.Linear": "discrete_latents.networks.LinearNetwork",
    "discrete_latents.sweep.Sweep": "discrete_latents.sweep.sweep.Sweep",
}
"""Each `_target_` that a saved configuration may name, and where its class is now."""

RENAMED = {
    "model.hidden": "model.network.hidden",
    "model.decoder_hidden": "model.network.decoder_hidden",
}
"""Each setting that has another name, and that name."""

SCHEDULES = {"start", "minimum", "rate", "period", "steps"}
"""The settings of any temperature. A saved node could hold those of another schedule, which were not used."""


def renamed(name: str) -> str:
    """A setting or an override as this version names it.

    >>> renamed("model.hidden=[8]"), renamed("search.space.model.hidden"), renamed("latent.hidden=3")
    ('model.network.hidden=[8]', 'search.space.model.network.hidden', 'latent.hidden=3')
    """
    prefix, key, rest = re.fullmatch(r"([+~]*(?:search\.space\.)?)([^=]*)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{prefix}{RENAMED.get(key, key)}{rest}"


def with_moved_targets(config: DictConfig) -> DictConfig:
    """The configuration with every `_target_` where it is now; the same object where none has moved."""
    before = OmegaConf.to_container(config, resolve=False)
    after = moved(before)
    return config if after == before else cast(DictConfig, OmegaConf.create(after))


def moved(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: MOVED.get(value, value) if key == "_target_" and isinstance(value, str) else moved(value)
            for key, value in node.items()
        }
    return [moved(value) for value in node] if isinstance(node, list) else node


def upgraded(config: DictConfig) -> DictConfig:
    """A saved configuration as this version would have written it; the same object where it is so already.

    The former layout had the widths in `model.hidden` and `model.decoder_hidden`, a network by `_partial_`, and could
    have settings of another schedule in `temperature`.
    """
    config = with_moved_targets(config)
    settings: Any = OmegaConf.to_container(config, resolve=False)
    model = settings.get("model") if isinstance(settings, dict) else None
    network = model.get("network") if isinstance(model, dict) else None
    if not (isinstance(model, dict) and isinstance(network, dict) and "hidden" in model and network.get("_partial_")):
        return config
    widths = {name: model.pop(name) for name in ("hidden", "decoder_hidden") if name in model}
    del network["_partial_"]
    if network.get("_target_") != "discrete_latents.networks.LinearNetwork":  # which never looked at them
        model["network"] = widths | network
    temperature = settings.get("temperature")
    if isinstance(temperature, dict) and "_target_" in temperature:
        used = parameters(temperature["_target_"])
        settings["temperature"] = {
            name: value for name, value in temperature.items() if name in used or name not in SCHEDULES
        }
    return OmegaConf.create(settings)


def parameters(target: Any) -> set[str]:
    """What a class takes, by its dotted name; all there may be where there is no such class, which making it says."""
    try:
        return set(inspect.signature(resolve_name(target)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return SCHEDULES
