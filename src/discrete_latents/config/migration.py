"""Migration of configurations saved by earlier versions: moved classes, renamed settings and an older layout.

Imports neither torch nor Lightning, so that reading old runs stays fast.
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
"""Old `_target_` in saved configurations → current `_target_`."""

RENAMED = {
    "model.hidden": "model.network.hidden",
    "model.decoder_hidden": "model.network.decoder_hidden",
    "optimizer.hold": "lr_schedule.hold",
}
"""Old setting name → current name."""

LATER: dict[str, Any] = {"eval_samples": 1000, "compile": False, "steps_per_loop": 25, "resume": None}
LATER |= {"train": True, "test": True, "weights": None, "weights_strict": True, "optimized_metric": None, "tags": []}
LATER |= {"print_config": False, "tokenizer": None}
"""Settings that runs from before them lack → what they had."""

OPTIMIZATION = "discrete_latents.optimization.Optimization"

SCHEDULES = {"start", "minimum", "rate", "period", "steps"}
"""The settings of all temperatures. A saved node could contain unused ones of another schedule."""


def renamed(name: str) -> str:
    """A setting or override under its current name.

    >>> renamed("model.hidden=[8]"), renamed("search.space.model.hidden"), renamed("latent.hidden=3")
    ('model.network.hidden=[8]', 'search.space.model.network.hidden', 'latent.hidden=3')
    """
    prefix, key, rest = re.fullmatch(r"([+~]*(?:search\.space\.)?)([^=]*)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{prefix}{RENAMED.get(key, key)}{rest}"


def with_moved_targets(config: DictConfig) -> DictConfig:
    """The configuration with current `_target_`s; the same object if none has moved."""
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
    """A saved configuration in the current layout; the same object if it is current already.

    The old layout had the widths in `model.hidden` and `model.decoder_hidden` and a network with `_partial_`. Its
    `temperature` could contain settings of another schedule. The fraction of training at full learning rate was
    `optimizer.hold`.
    """
    config = with_schedule_of_its_own(with_moved_targets(config))
    settings: Any = OmegaConf.to_container(config, resolve=False)
    model = settings.get("model") if isinstance(settings, dict) else None
    if (
        isinstance(model, dict)
        and "_target_" in model
        and "trainer" in settings
        and not LATER.keys() <= settings.keys()
    ):
        config = OmegaConf.create(settings := LATER | settings)
    network = model.get("network") if isinstance(model, dict) else None
    if not (isinstance(model, dict) and isinstance(network, dict) and "hidden" in model and network.get("_partial_")):
        return config
    widths = {name: model.pop(name) for name in ("hidden", "decoder_hidden") if name in model}
    del network["_partial_"]
    if network.get("_target_") != "discrete_latents.networks.LinearNetwork":  # it ignored them
        model["network"] = widths | network
    temperature = settings.get("temperature")
    if isinstance(temperature, dict) and "_target_" in temperature:
        used = parameters(temperature["_target_"])
        settings["temperature"] = {
            name: value for name, value in temperature.items() if name in used or name not in SCHEDULES
        }
    return OmegaConf.create(settings)


def with_schedule_of_its_own(config: DictConfig) -> DictConfig:
    """The configuration with `lr_schedule` in the place of `optimizer.hold`; the same object if it has none."""
    settings: Any = OmegaConf.to_container(config, resolve=False)
    optimizer = settings.get("optimizer") if isinstance(settings, dict) else None
    if not (isinstance(optimizer, dict) and "hold" in optimizer and optimizer.get("_target_") == OPTIMIZATION):
        return config
    hold = optimizer.pop("hold")
    linear = {"_target_": f"{OPTIMIZATION.rpartition('.')[0]}.LinearRate", "hold": hold, "warmup": 0}
    optimizer.setdefault("schedule", "${lr_schedule}")
    settings.setdefault("lr_schedule", linear)
    return OmegaConf.create(settings)


def parameters(target: Any) -> set[str]:
    """The parameters of the class with this dotted name; all schedule settings if it does not exist or is foreign: a
    saved configuration imports nothing."""
    if not str(target).startswith("discrete_latents.latent."):
        return SCHEDULES
    try:
        return set(inspect.signature(resolve_name(target)).parameters)
    except (ImportError, AttributeError, TypeError, ValueError):
        return SCHEDULES
