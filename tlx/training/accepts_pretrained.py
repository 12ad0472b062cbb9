"""Let a function of a model in pieces be called with one object that has them all."""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import flax.linen as nn

from tlx.data.source import check_source
from tlx.data.views import Relabelled
from tlx.errors import ConfigError
from tlx.presets.pretrained import Pretrained
from tlx.training.options import as_options

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
    """Let a function of `model`, `variables` and perhaps `preprocess` take one object first in their place.

    That is a `Pretrained`, or something else that has them. What is of the type `whole` is given on as `variables` as
    it is. A function without `preprocess` finds it in its `options`, with the objective of what has been fitted. A
    function of `objective` is given that of the object, and a `source` with the classes in the order of its own.

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
        try:
            given = others.bind(*arguments[1:], **options).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        pieces = {"model": first.model, "variables": first if isinstance(first, whole) else first.variables}
        if "preprocess" in signature.parameters:
            pieces["preprocess"] = first.preprocess
        elif "options" in others.parameters:
            given["options"] = _completed(given.get("options"), first, isinstance(first, whole))
        if "objective" in others.parameters:
            given.setdefault("objective", first.objective)
            if hasattr(first, "classes"):
                given["source"] = matched(given["source"], first.classes)
        return function(**pieces, **given)

    return call


def _completed(options: Any, first: Any, fitted: bool) -> Any:
    """Return options with the object's own preprocessing and, of a fit that goes on, its objective."""
    options = as_options(options)
    if options.preprocess is None:
        options = replace(options, preprocess=first.preprocess)
    if fitted and options.objective is None:
        options = replace(options, objective=first.objective)
    return options


def matched(source: Any, classes: Sequence[str]) -> Any:
    """Return a source with its classes numbered as a model's; raise where the model has none, or lacks some."""
    check_source(source, "source")
    if tuple(source.classes) == tuple(classes) or not source.classes:
        return source
    if not classes:
        raise ConfigError("the model has no head to evaluate: give it one (with_head) and train it")
    return Relabelled(source, classes)
