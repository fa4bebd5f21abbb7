"""Checks settings against the type annotations of the objects that they are given to.

Constructors often accept a value of the wrong type and fail later: "maybe" counts as true, and the text "3" is no
number of samples.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

WORDS: dict[Any, str] = {
    NoneType: "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    PathLike: "a path",
}
LISTS = (list, tuple, set, frozenset, Sequence, Iterable)
MAPPINGS = (dict, Mapping, MutableMapping)


def mistakes(node: Any, name: str = "") -> Iterator[str]:
    """One line for each setting whose value does not fit its annotation, beginning with the setting's dotted name.

    node: settings as plain dictionaries, lists and values; a dictionary with a `_target_` describes an object.
    Settings without an annotation, or with one that cannot be resolved, are not checked.
    """
    if isinstance(node, Mapping):
        hints = annotations(node["_target_"]) if "_target_" in node else {}
        for key, value in node.items():
            inner = f"{name}.{key}" if name else str(key)
            if fits(value, hints.get(key, Any)):
                yield from mistakes(value, inner)
            else:
                yield f"{inner} must be {' or '.join(dict.fromkeys(in_words(hints[key])))}, got {value!r}"
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from mistakes(value, f"{name}[{index}]")


def annotations(target: str) -> dict[str, Any]:
    """The annotations of the parameters of a function or a class (its bases' included), given its dotted name."""
    try:
        made_by = resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        return {}
    kinds = reversed(made_by.__mro__) if inspect.isclass(made_by) else ()
    found = {}
    for function in [vars(kind).get("__init__") for kind in kinds] or [made_by]:
        try:
            found |= get_type_hints(function)
        except (TypeError, NameError, AttributeError):
            continue
    with suppress(TypeError, ValueError):
        for name, parameter in inspect.signature(made_by).parameters.items():
            if parameter.default is None and name in found:
                found[name] = found[name] | None
    return found


def fits(value: Any, annotation: Any) -> bool:
    """Whether a setting fits an annotation: numbers, text and lists directly, other objects as a mapping that describes
    them."""
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return fits(value, inner[0])
    if kind in (Union, UnionType):
        return any(fits(value, member) for member in inner)
    if kind is Literal:
        return value in inner
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind in (Path, PathLike):
        return isinstance(value, str)
    if kind in (Any, object):
        return True
    if isinstance(value, Mapping):
        if value.get("_partial_") and kind is not Callable:
            return False
        values = value.values() if kind in MAPPINGS and inner and "_target_" not in value else ()
        return kind not in LISTS and all(fits(member, inner[1]) for member in values)
    if kind in LISTS:
        members = value if isinstance(value, list) and len(inner) == 1 else ()
        return isinstance(value, list) and all(fits(member, inner[0]) for member in members)
    return not inspect.isclass(kind)


def in_words(annotation: Any) -> Iterator[str]:
    """The values that an annotation allows, as a user writes them in a configuration."""
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        yield from in_words(inner[0])
    elif kind in (Union, UnionType):
        for member in inner:
            yield from in_words(member)
    elif kind is Literal:
        yield from map(repr, inner)
    elif kind in LISTS:
        yield "a list"
    elif kind in MAPPINGS:
        yield "settings by their names"
    else:
        yield WORDS.get(kind, "an object, by its _target_")
