"""Tables of cases of which the tests run a few by default."""

from collections.abc import Sequence
from typing import Any

import pytest


def rest_is_slow(cases: Sequence[Any], keep: int = 3) -> list[Any]:
    """The cases of a table: the first `keep` run by default, the others with the slow tests."""
    return [case if index < keep else slow(case) for index, case in enumerate(cases)]


def slow(case: Any) -> Any:
    """A case, a tuple where it is one of several parameters, that runs with the slow tests."""
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
