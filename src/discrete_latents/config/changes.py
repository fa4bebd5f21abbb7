"""What a command line changes in the settings of a run that it resumes: refused, unless the run can go on with it; then
saved in the run's configuration, with the step from which it holds."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from discrete_latents.config.paths import verbatim
from discrete_latents.errors import UserError
from discrete_latents.runs.directory import RunDirectory
from discrete_latents.secrecy import masked

MAY_CHANGE = (
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps"),
    *("trainer.devices", "trainer.accelerator", "trainer.strategy", "trainer.num_nodes", "trainer.log_every_n_steps"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.profiler", "trainer.detect_anomaly"),
    *("eval_samples", "model.eval_chunk", "data.eval_batch_size", "compile", "steps_per_loop", "paths.data_dir"),
    *("logger", "callbacks", "callbacks.checkpoint.every_n_steps", "test", "tags", "optimized_metric", "print_config"),
)
"""Settings and groups: how long and where a run trains, what it logs, and how it is evaluated at its end."""

KEPT = ("callbacks.checkpoint", "callbacks.temperature", "callbacks.ema", "callbacks.swa")
"""What cannot change all the same: which state is the best, the temperature, and the average of the weights."""

HISTORY = "resumed"
"""The key of a saved configuration for its changes: a list of the steps, with the changes of each."""

OF_THE_COMMAND = ("resume", "traceback", "trust")
"""Settings that are a command's, and none of the run."""


@dataclass
class Changes:
    """What a resume changes.

    config: the run's configuration with the changes, ready to be saved. changed: by dotted name, the values "from" and
    "to"; an added setting has no "from", a deleted one no "to".
    """

    run: RunDirectory
    config: DictConfig
    changed: dict[str, dict[str, Any]]

    def write(self, step: int) -> None:
        """Saves the changed configuration, with its history, in one atomic write. step: the one that the run goes on
        from."""
        earlier: Any = OmegaConf.to_container(self.config).get(HISTORY)  # type: ignore[union-attr]
        changes = {
            name: {side: recorded(value) for side, value in change.items()} for name, change in self.changed.items()
        }
        config = self.config.copy()
        with open_dict(config):
            config[HISTORY] = [*(earlier or ()), {"step": step, "changes": changes}]
        self.run.save_config(config)


def changes_on_resume(run: RunDirectory, saved: DictConfig, config: DictConfig) -> Changes:
    """saved: the run's configuration. config: the same as composed with this command line's overrides; an override that
    repeats a value is no change. Raises UserError for what cannot change."""
    config = config.copy()
    with open_dict(config):
        for name in OF_THE_COMMAND:
            config.pop(name, None)
            if name in saved:
                config[name] = saved[name]
    before, after = (masked(OmegaConf.to_container(one)) for one in (saved, config))
    changed = {name: change for name, change in differences(before, after) if not resolve_alike(name, saved, config)}
    refused = [
        f"{name} = {side_text(change, 'to')}, where the run has {side_text(change, 'from')}"
        for name, change in changed.items()
        if not may_change(name)
    ]
    if refused:
        raise UserError(
            f"resume = {run}: {'; '.join(refused)}: a run keeps its settings, except {', '.join(MAY_CHANGE)}"
        )
    return Changes(run, config, changed)


def differences(before: Any, after: Any, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The dotted names at which two nodes differ, with their values."""
    for name in {**before, **after}:
        sides = {side: node[name] for side, node in (("from", before), ("to", after)) if name in node}
        values = list(sides.values())
        if len(values) == 2 and all(isinstance(value, dict) for value in values):
            yield from differences(*values, prefix=f"{prefix}{name}.")
        elif len(values) < 2 or not same(*values):
            yield f"{prefix}{name}", sides


def same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def resolve_alike(name: str, *configs: DictConfig) -> bool:
    """Whether a setting has one value in two configurations, written as such in one and as `${…}` in the other."""
    try:
        one, other = (OmegaConf.select(config, name) for config in configs)
    except OmegaConfBaseException:
        return False
    return one is not None and same(one, other)


def may_change(name: str) -> bool:
    if any(f"{kept}.".startswith(f"{name}.") for kept in KEPT):  # the whole of a group
        return False
    holders = [other for other in (*MAY_CHANGE, *KEPT) if f"{name}.".startswith(f"{other}.")]
    return bool(holders) and max(holders, key=len) in MAY_CHANGE


def side_text(change: Mapping[str, Any], side: str) -> str:
    """A value in a message."""
    value = change.get(side, "nothing")
    if isinstance(value, dict):
        return "{...}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def recorded(value: Any) -> Any:
    """A value as text that nothing resolves or builds, unless it is a number, a truth value or null."""
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else value
    return verbatim(text) if isinstance(text, str) else text


def changed_before(config: DictConfig) -> dict[str, dict[str, Any]]:
    """The last change of each setting that a saved configuration tells of, by dotted name."""
    history: Any = OmegaConf.to_container(config).get(HISTORY)  # type: ignore[union-attr]
    records = [one.get("changes") for one in history if isinstance(one, dict)] if isinstance(history, list) else []
    return {name: change for record in records if isinstance(record, dict) for name, change in record.items()}
