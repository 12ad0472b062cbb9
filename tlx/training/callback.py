"""A callback: asked at the end of each epoch whether its phase ends."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import jax
import numpy as np

from tlx.errors import ConfigError
from tlx.logs.log import METHODS, is_log
from tlx.training.history import History
from tlx.tree.paths import Tree


@dataclass(frozen=True)
class EpochState:
    """What a callback may read at the end of an epoch: all of it copies, none of which training uses.

    Args:
        phase: the phase's name.
        epoch: the epoch within the phase, from 1.
        epochs: the most that the phase has.
        step: the steps taken within the phase.
    """

    phase: str
    epoch: int
    epochs: int
    step: int
    _records: Sequence[dict[str, Any]] = field(repr=False, default=())
    _read: list[Callable[[], Tree]] = field(repr=False, default_factory=list)  # empty once the epoch is over

    @functools.cached_property
    def history(self) -> History:
        """The record of every epoch so far, this one last, and those before a resume among them."""
        return History(copy.deepcopy(list(self._records)))

    @functools.cached_property
    def variables(self) -> Tree:
        """The whole tree as validation measured it: `{"params": ..., "batch_stats": ...}`.

        It is copied when first read, which must be before the callback returns; then it is the callback's to keep.
        """
        if not self._read:
            raise ConfigError("state.variables: the epoch is over, and training went on: read it within stops_phase")
        return jax.tree.map(lambda leaf: leaf, self._read[0]())  # containers of its own


class Callback:
    """Something that is asked at the end of each epoch whether its phase ends there.

    Derive from it, or give any object that has `stops_phase` to `tlx.fit` or `tlx.finetune` (`callbacks`); one that is
    told of the run, too, derives from `tlx.Log` beside. A resumed fit has the decisions of before, but not what the
    callback itself remembers: one that goes by earlier epochs reads them in `state.history`, and so decides alike.

    >>> class GoodEnough(Callback):
    ...     def stops_phase(self, record, state):
    ...         return record["val_accuracy"] >= 0.5
    >>> import tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=10)
    >>> recipe = tlx.recipes.probe(base, epochs=50, patience=None)
    >>> fit = tlx.fit(base.with_head(data.classes), recipe, data, callbacks=[GoodEnough()])
    >>> fit.phases[0].epochs < 50, fit.phases[0].val_accuracy >= 0.5
    (True, True)
    """

    def stops_phase(self, record: dict[str, Any], state: EpochState) -> bool:
        """Return True to end the phase with this epoch, whose record is that of `tlx.Log.epoch`; the next one begins.

        Of many processes the first is asked, and all do as it says. What it raises ends the fit.
        """
        return False


def asks(given: Any) -> TypeGuard[Callback]:
    """Tell whether an object is asked about the end of a phase.

    >>> asks(Callback()), asks(Callback), asks(print)
    (True, False, False)
    """
    return not isinstance(given, type) and callable(getattr(given, "stops_phase", None))


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Raise `ConfigError` where something among the callbacks has neither the methods of `Log` nor of `Callback`."""
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise ConfigError(
            f"callbacks: {type(callbacks).__name__} is not a list of logs and callbacks: write callbacks=[log]"
        )
    for index, given in enumerate(callbacks):
        if is_log(given) or asks(given):
            continue
        missing = [name for name in METHODS if not callable(getattr(given, name, None))]
        lacks = "is a class, not an object" if isinstance(given, type) else f"has no method {', '.join(missing)}"
        raise ConfigError(
            f"callbacks[{index}]: {getattr(given, '__name__', type(given).__name__)} {lacks}: derive a class from "
            "tlx.Log or tlx.Callback, override what you need (epoch, mostly) and give an object of it"
        )


def names_of(callbacks: Sequence[Any]) -> list[str]:
    """Name the classes of those that are asked, as a run's description has them.

    >>> names_of([Callback(), print])
    ['tlx.training.callback.Callback']
    """
    return [f"{type(each).__module__}.{type(each).__qualname__}" for each in callbacks if asks(each)]


def any_stops(callbacks: Sequence[Any], record: Mapping[str, Any], state: EpochState) -> bool:
    """Ask all of them, each with a record and a state of its own, and tell whether one of them ends the phase."""
    answers = [_answer(each, copy.deepcopy(dict(record)), replace(state)) for each in callbacks]
    return any(answers)


class OfRun(Callback):
    """Ask another callback, with the name of the run in the record, as `Guarded` gives it to logs."""

    def __init__(self, callback: Callback, run: str) -> None:
        self.callback, self.run = callback, run

    def stops_phase(self, record: dict[str, Any], state: EpochState) -> bool:
        return _answer(self.callback, {"run": self.run, **record}, state)


def _answer(callback: Any, record: dict[str, Any], state: EpochState) -> bool:
    """Ask a callback; None, of a method without a return, is False. Raise `ConfigError` for what is no answer."""
    answer = callback.stops_phase(record, state)
    if answer is None:
        return False
    if np.ndim(answer) or np.asarray(answer).dtype != bool:
        raise ConfigError(
            f"callbacks: {type(callback).__name__}.stops_phase returned {answer!r:.60}: return True or False"
        )
    return bool(answer)
