"""Describe functions and optax transformations by their names and what they close over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import optax

_DEEPEST = 12  # levels of transformations within transformations
_MOST = 16  # numbers of an array that are written out


def describe(value: Any) -> str:
    """Describe an optax transformation, a schedule or another callable in one line, the same in every process.

    optax builds both as closures, which know no name of their own: what makes one of them is the function that it was
    defined in, and its settings are the variables that it closes over. Two that differ in neither are described alike
    (functions that differ in their code only, say).

    Args:
        value: an `optax.GradientTransformation`, a callable, or a value that one of them closes over.

    Returns:
        The description, without addresses.

    >>> describe(optax.sgd(0.5, momentum=0.9))
    'chain(trace(accumulator_dtype=None, decay=0.9, nesterov=False), scale(step_size=-0.5))'
    >>> describe(optax.constant_schedule(0.1))
    'constant_schedule(value=0.1)'
    """
    return _describe(value, _DEEPEST)


def describe_parts(transform: optax.GradientTransformation) -> list[str]:
    """Describe each transformation of a chain, or the only one there is, so that two chains can be compared in parts.

    >>> describe_parts(optax.sgd(0.5, momentum=0.9))
    ['trace(accumulator_dtype=None, decay=0.9, nesterov=False)', 'scale(step_size=-0.5)']
    """
    parts = _chained(transform.update)
    return [describe(transform)] if parts is None else [describe(part) for part in parts]


def _chained(update: Any) -> Sequence[Any] | None:
    """Return the functions that one of `optax.chain` closes over, or None for another."""
    if getattr(update, "__qualname__", "").partition(".")[0] != "chain" or not hasattr(update, "__code__"):
        return None
    return _closed(update).get("update_fns")


def _closed(function: Callable[..., Any]) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: _content(cell) for name, cell in cells}


def _describe(value: Any, depth: int) -> str:
    if depth == 0:
        return "..."
    deeper = depth - 1
    if isinstance(value, optax.GradientTransformation):
        return _describe(value.update, depth)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, np.dtype):
        return _of_array(value)
    if isinstance(value, partial):
        given = [*(_describe(each, deeper) for each in value.args), *_named(value.keywords, deeper)]
        return f"partial({', '.join([_describe(value.func, deeper), *given])})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_describe(each, deeper)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(_describe(each, deeper) for each in value) + ")"
    if isinstance(value, type | np.dtype):
        return getattr(value, "__name__", str(value))
    if isinstance(value, MethodType):
        return f"{_describe(value.__self__, deeper)}.{value.__func__.__name__}"
    if hasattr(value, "__code__"):
        return _of_function(value, deeper)
    if is_dataclass(value):
        return repr(value)
    name = getattr(value, "__qualname__", None)
    return name or _of_object(value, deeper)


def _of_object(value: Any, depth: int) -> str:
    """Describe an object by its class and what it is set to, but not by all that it may refer to."""
    plain = (bool, int, float, str, tuple, list)
    settings = {k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, plain) or callable(v)}
    return f"{type(value).__name__}({', '.join(_named(settings, depth))})"


def _of_function(function: Callable[..., Any], depth: int) -> str:
    """Describe a function by the one that it was defined in, with the variables that it took from there."""
    maker, _, within = function.__qualname__.partition(".<locals>.")
    closed = _closed(function)
    if maker == "with_extra_args_support" and "tx" in closed:  # optax's own wrapping says nothing
        return _describe(closed["tx"], depth)
    if (parts := _chained(function)) is not None:
        return f"chain({', '.join(_describe(each, depth) for each in parts)})"
    # Functions defined beside this one close over what it does.
    beside = f"{maker}.<locals>."
    settings = {name: each for name, each in closed.items() if not getattr(each, "__qualname__", "").startswith(beside)}
    module = function.__module__ or ""
    name = maker if module.partition(".")[0] == "optax" else ".".join(filter(None, (module, maker, within)))
    named = _named(settings, depth)
    return f"{name}({', '.join(named)})" if within or named else name


def _named(values: Mapping[str, Any], depth: int) -> list[str]:
    return [f"{name}={_describe(each, depth)}" for name, each in values.items()]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that was never given a value
        return None


def _of_array(array: Any) -> str:
    if array.size <= _MOST and isinstance(array.dtype, np.dtype):
        return str(np.asarray(array).tolist())
    return f"{array.dtype}{list(array.shape)}"
