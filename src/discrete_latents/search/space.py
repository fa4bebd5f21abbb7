"""The space of a search: settings, by their names on the command line, each with a range or choices."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from discrete_latents.config.overrides import quoted
from discrete_latents.errors import UserError, suggest

RANGE = {"low", "high", "step", "log"}
RESERVED = {"null", "true", "false", "nan", "inf"}


def distributions(space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """The distribution of each setting in `search.space`, by its dotted name.

    Names may be nested or dotted. Raises UserError for what is neither a range nor choices.

    >>> distributions({"optimizer": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}, "latent": {"choices": ["exact"]}})
    {'optimizer.lr': FloatDistribution(high=0.01, log=True, low=0.0001, step=None), 'latent': \
CategoricalDistribution(choices=('exact',))}
    """
    found = {name: distribution(f"search.space.{name}", node) for name, node in described(space)}
    if not found:
        raise UserError("search.space names no setting to vary")
    return found


def described(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings of a space, each with its description."""
    for key, node in space.items():
        name = f"{prefix}{key}"
        if not isinstance(node, Mapping):
            raise UserError(f"search.space.{name} must be {{low, high, step, log}} or {{choices: [...]}}, got {node!r}")
        own = {part: value for part, value in node.items() if not isinstance(value, Mapping)}
        if own:
            yield name, own
        yield from described({part: value for part, value in node.items() if part not in own}, f"{name}.")


def distribution(name: str, node: dict[str, Any]) -> BaseDistribution:
    for key in sorted(node.keys() - RANGE - {"choices"}):
        raise UserError(f"{name}.{key} is not a part of a range: {suggest(key, RANGE | {'choices'})}")
    if "choices" in node:
        choices = node["choices"]
        if len(node) > 1 or not isinstance(choices, list) or not choices:
            raise UserError(f"{name}.choices must be a list of at least one, with nothing beside it, got {node}")
        return CategoricalDistribution([literal(choice) for choice in choices])
    low, high, step, log = node.get("low"), node.get("high"), node.get("step"), node.get("log", False)
    for key, value in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{name}.{key} must be a number, got {value!r}")
    if not isinstance(log, bool):
        raise UserError(f"{name}.log must be true or false, got {log!r}")
    assert low is not None
    assert high is not None
    if low > high:
        raise UserError(f"{name}.low must be at most high = {high}, got {low}")
    if step is not None and (step <= 0 or log):
        raise UserError(f"{name}.step must be a number greater than 0, without log, got {step}")
    if log and low <= 0:
        raise UserError(f"{name}.low must be greater than 0 with log = true, got {low}")
    if all(isinstance(value, int) for value in (low, high, 1 if step is None else step)):
        last = high - (high - low) % (step or 1)  # Optuna would do it with a warning
        return IntDistribution(int(low), int(last), log, int(step or 1))
    return FloatDistribution(low, high, log, step)


def literal(value: Any) -> str:
    """A value as the command line takes it. Choices are kept as these texts, so that lists can be chosen too.

    >>> literal([200, 0.5, None]), literal("st_gumbel"), literal("a b"), literal("null")
    ('[200,0.5,null]', 'st_gumbel', "'a b'", "'null'")
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(literal(one) for one in value)}]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in RESERVED
        return value if plain else quoted(value)
    return repr(value)
