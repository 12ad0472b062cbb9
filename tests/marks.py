"""Which values of a parametrised test are slow."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_but(*fast: str, of: Iterable[Any]) -> list[Any]:
    """Mark all values slow but the named ones, a value's name being its `str`, of a tuple that of its first member."""
    rows = [value if isinstance(value, tuple) else (value,) for value in of]
    assert [name for name in fast if name not in [str(row[0]) for row in rows]] == []
    return [pytest.param(*row, marks=() if str(row[0]) in fast else pytest.mark.slow) for row in rows]
