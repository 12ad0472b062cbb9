"""Let a function of a model in pieces be called with one object that has them all."""

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn

from tlx.data.source import Data
from tlx.errors import ConfigError
from tlx.presets.pretrained import Pretrained

Result = TypeVar("Result")
PIECES = ("model", "variables", "preprocess")


def opened(first: Any) -> Any:
    """Return what has a model, its variables and preprocessing: a `Pretrained`, or a `tlx.Run`'s; others as they are.

    Raise `ConfigError` for a name or a path.
    """
    if isinstance(first, str | os.PathLike):
        raise ConfigError(f"{str(first)!r} is the name of a model: give the model, tlx.load({str(first)!r})")
    return first.load() if hasattr(first, "load_fit") else first


def has_pieces(value: Any) -> bool:
    """Tell whether a value is a `Pretrained`, or something else that has a model, its variables and preprocessing."""
    return isinstance(value, Pretrained) or (not isinstance(value, nn.Module) and hasattr(value, "preprocess"))


def accepts_pretrained(function: Callable[..., Result], *, whole: Any = ()) -> Callable[..., Result]:
    """Let a function of `model`, `variables` and `preprocess`, among others, take a `Pretrained` first in their place.

    What is of the type `whole` is given on as `variables` as it is. A function of `classes` is given those, too.

    >>> @accepts_pretrained
    ... def names(model, variables, source, preprocess, batch_size=32):
    ...     return model.base.stage_names, source, batch_size
    >>> import tlx
    >>> names(tlx.load("mlp-mnist"), "a source", batch_size=8)
    (('dense1', 'dense2'), 'a source', 8)
    """
    signature = inspect.signature(function)
    others = signature.replace(parameters=[each for name, each in signature.parameters.items() if name not in PIECES])

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Result:
        first: Any = opened(arguments[0]) if arguments else None
        if not has_pieces(first):
            return function(*arguments, **options)
        rest = arguments[1:]
        if "train" in others.parameters:  # and so 'validation', the next one
            pairs = ((each.train, each.validation) if isinstance(each, Data) else (each,) for each in rest)
            rest = tuple(part for pair in pairs for part in pair)
        try:
            given = others.bind(*rest, **options).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        variables = first if isinstance(first, whole) else first.variables
        if "classes" in others.parameters and hasattr(first, "classes"):
            given.setdefault("classes", first.classes)
        return function(model=first.model, variables=variables, preprocess=first.preprocess, **given)

    return call
