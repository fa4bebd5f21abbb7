"""Settings against annotations: which values fit, and what is said of those that do not."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

from discrete_latents.config.type_hints import fits, mistakes

OBJECT = {"_target_": "builtins.dict"}


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (bool, [True, False], ["true", 1, None]),
        (int, [3, -1], [3.0, True, "3", None]),
        (float, [3, 0.5], [True, "0.5", None, [1.0]]),
        (str, ["", "a"], [3, None, True]),
        (Path, ["a/b"], [3, None]),
        (PathLike[str], ["a/b"], [3, None]),
        (int | None, [3, None], ["x", 0.5]),
        (Optional[float], [3, None], ["x"]),  # noqa: UP045
        (Literal["warn", "error"], ["warn"], ["maybe", True]),
        (bool | Literal["link"], [True, "link"], ["copy", None]),
        (Annotated[int, "of steps"], [3], ["x"]),
        (list[int], [[], [1, 2]], [3, "12", [1, "2"], [1.5]]),
        (Sequence[str], [["a"], []], ["a", [1]]),
        (tuple[float, float], [[0.9, 0.99]], [0.9]),
        (Mapping[str, int], [{}, {"a": 1}], [3, ["a"], {"a": "x"}]),
        (Callable[[int], int], [OBJECT], [None, "f", 3, [1]]),
        (Exception, [OBJECT], [None, "ValueError", 3]),
        (Exception | None, [OBJECT, None], ["ValueError"]),
        (float | Exception, [3, OBJECT], ["x", None]),
        (object, [3, None, "x", [1]], []),
        (Any, [3, None, "x", [1]], []),
    ],
    ids=str,
)
def test_a_value_fits_an_annotation_or_does_not(annotation, good, bad):
    assert [value for value in good if not fits(value, annotation)] == []
    assert [value for value in bad if fits(value, annotation)] == []


class Base:
    def __init__(self, width: int, name: "str" = "a") -> None: ...


class Derived(Base):
    def __init__(self, flag: bool, unset: int = None, **common: Any) -> None:  # type: ignore[assignment]  # noqa: RUF013
        super().__init__(**common)


class Unreadable:
    def __init__(self, width: "NowhereDefined") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def settings(kind: type, **given: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{kind.__name__}", **given}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (settings(Base, width=3), []),
        (settings(Base, width="x"), ["model.width must be a whole number, got 'x'"]),
        (settings(Base, width=3, name=None), ["model.name must be text, got None"]),
        (settings(Derived, flag="maybe"), ["model.flag must be true or false, got 'maybe'"]),
        (settings(Derived, flag=True, width=0.5), ["model.width must be a whole number, got 0.5"]),
        (settings(Derived, flag=True, unset=None), []),  # its default
        (settings(Unreadable, width="x"), []),
        (settings(Base, other="x", width=3), []),  # for what it is given to
        ({"_target_": "nowhere.Nothing", "width": "x"}, []),
        ({"width": "x"}, []),
        ({"inner": settings(Base, width="x")}, ["model.inner.width must be a whole number, got 'x'"]),
        ({"parts": [settings(Base, width="x")]}, ["model.parts[0].width must be a whole number, got 'x'"]),
    ],
)
def test_what_is_wrong_is_said_by_its_dotted_name(node, said):
    assert list(mistakes(node, "model")) == said
