"""A `repr` of dataclasses that leaves out what has its default."""

from dataclasses import MISSING, fields
from typing import Any

import optax

from tlx.optim.describe import describe


def brief(value: Any) -> str:
    """Return a dataclass as the shortest call that makes it.

    >>> from tlx.optim.groups import Adam, Group
    >>> from tlx.optim.schedules import Constant
    >>> Group(Constant(0.1)), Group(Constant(0.1), Adam(b1=0.8), clip_norm=1.0)
    (Group(schedule=Constant(rate=0.1)),
     Group(schedule=Constant(rate=0.1), optimizer=Adam(b1=0.8), clip_norm=1.0))
    """
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    defaults = {field.name: field.default for field in fields(value) if field.default is not MISSING}
    shown = (f"{name}={_shown(each)}" for name, each in given.items() if name not in defaults or each != defaults[name])
    return f"{type(value).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    """Write a field's value: functions, and optax's pairs of them, without their addresses."""
    of_functions = isinstance(value, optax.GradientTransformation) or hasattr(value, "__code__")
    return describe(value) if of_functions else repr(value)
