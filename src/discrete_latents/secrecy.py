"""Secrets by their names: which settings and variables are secret, and settings and text without their values."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MASK = "***"
"""Stands for the value of a secret."""

NAME = re.compile(r"(?:key|token)s?$|secret|passw(?:or)?d|passphrase|credential", re.IGNORECASE)
SURELY = re.compile(r"secret|passw(?:or)?d|passphrase|credential", re.IGNORECASE)
"""Names under which a number is secret too; `num_tokens` has one."""

SHORTEST = 6
"""Characters of a value that is masked wherever it stands in text. A shorter one would mask parts of other words."""

known: set[str] = set()
"""The secret values that this process has been given, by `learn`."""


def learn(settings: Any) -> None:
    """Masks the secrets in settings, by their names, in all text from now on."""
    known.update(str(value) for value in secrets_in(settings) if len(str(value)) >= SHORTEST)


def learn_environment() -> None:
    """The same for the environment's variables. The path of a file with credentials is none itself."""
    learn({name: value for name, value in os.environ.items() if not os.path.lexists(value)})


def secrets_in(node: Any, name: str = "", within: bool = False) -> Iterator[Any]:
    """The values of the settings whose name, or the name of a setting around them, says that they are secret."""
    within = within or NAME.search(name) is not None
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from secrets_in(value, str(key), within)
    elif isinstance(node, Sequence) and not isinstance(node, str | bytes):
        for value in node:
            yield from secrets_in(value, name, within)
    elif within and is_value(node, name):
        yield node


def masked(node: Any, name: str = "", within: bool = False) -> Any:
    """Settings, in any nesting of dictionaries and lists, with secrets masked: by name, and within text by value."""
    within = within or NAME.search(name) is not None
    if isinstance(node, Mapping):
        return {key: masked(value, str(key), within) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [masked(value, name, within) for value in node]
    if within and is_value(node, name):
        return MASK
    return masked_override(node) if isinstance(node, str) else node


def is_value(value: Any, name: str) -> bool:
    """Whether a value under a secret name is one, and no reference to another setting or variable."""
    if isinstance(value, str):
        return bool(value) and value != MASK and re.fullmatch(r"\$\{[^{},]*\}", value) is None
    return isinstance(value, int | float) and not isinstance(value, bool) and SURELY.search(name) is not None


def masked_override(text: str) -> str:
    """Text that may be an override, NAME=VALUE, or hold a secret that this process has been given."""
    name, equal, value = text.partition("=")
    if equal and re.fullmatch(r"[\w.@/+~-]+", name) and any(map(NAME.search, name.split("."))) and value:
        return text if is_reference(value) else f"{name}={MASK}"
    return masked_text(text)


def is_reference(value: str) -> bool:
    return re.fullmatch(r"""['"]?\$\{[^{},]*\}['"]?""", value) is not None


def masked_text(text: str) -> str:
    """Text with the secret values that this process has been given masked."""
    for value in known:
        if value in text:
            text = text.replace(value, MASK)
    return text
