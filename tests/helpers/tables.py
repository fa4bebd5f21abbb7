"""Tables of cases of which the tests run a few by default."""

from collections.abc import Sequence
from typing import Any

import pytest


def rest_is_slow(cases: Sequence[Any], keep: int = 3) -> list[Any]:
    """The cases of a table: the first `keep` run by default, the others with the slow tests."""
    return [case if index < keep else slow(case) for index, case in enumerate(cases)]


def one_in(step: int, cases: Sequence[Any]) -> list[Any]:
    """The cases of a table: the first and each `step`-th after it run by default, the others with the slow tests."""
    return [slow(case) if index % step else case for index, case in enumerate(cases)]


def slow(case: Any) -> Any:
    """A case, a tuple or a `pytest.param` where it is one of several parameters, that runs with the slow tests."""
    if hasattr(case, "marks"):
        return pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id)
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
