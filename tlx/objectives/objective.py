"""Objectives: what a model is trained for, as a pure function of its outputs and a batch."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from tlx.data.source import Source, target_kind
from tlx.errors import ConfigError

Tree = Any
Sums = dict[str, tuple[jax.Array, jax.Array]]
"""By name, the sum of a term's values and the sum of their weights; the quotient of several batches' is that of all."""


class Objective:
    """What a model is trained for: derive from it, or give any object or function that can be called so.

    `objective(outputs, batch, key)` returns terms by name: the `loss`, whose gradient is taken, and metrics. `outputs`
    are what the model returns, arrays (B, …) or a tree of them; `batch` has `input`, `target` and whatever columns the
    source offers; `key` is a random key in training, and None in evaluation, where the terms should depend on nothing
    random. A term is an array (B,), whose mean counts; or a pair of values (B,) and weights (B,), of which the sum of
    values over the sum of weights counts (a value comes already weighted); or the same without an axis, where it does
    not fall apart into examples. Rows of padding are left out of terms (B,); for others `batch["mask"]` tells them.

    It must be pure, traceable by JAX and hashable, as a frozen dataclass is. The rest has defaults:

    - `higher_is_better` names the metrics of which more is better, and `metrics` those that `measure` gives;
    - `target_kinds` lists the kinds of targets that it takes (`tlx.data.Source`), or is None for any;
    - `check(outputs, source)` raises `ConfigError` where the model's outputs, as shapes, do not suit;
    - `fitted(source)` returns the objective with what it takes from the training targets, such as their mean;
    - `predict(outputs)` returns what evaluation and prediction give: probabilities, numbers;
    - `pool` names how a new head takes features (`tlx.models.Head`), or is None for as suits the base;
    - `monitor(source)` names the score of validation by which epochs are compared where nobody says;
    - `measure(predictions, targets)` returns metrics that need all predictions at once, as numbers by name;
    - `tuned(predictions, targets)` returns the objective with what is chosen on validation, such as thresholds;
    - `to_dict()` describes it as data for JSON.

    The twelve lines of an objective of one's own, ordinal regression's absolute error in ranks:

    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Ordinal(Objective):
    ...     target_kinds = ("class",)
    ...     higher_is_better = frozenset({"within_one"})
    ...
    ...     def __call__(self, outputs, batch, key=None):
    ...         expected = jax.nn.softmax(outputs) @ jnp.arange(outputs.shape[-1], dtype=jnp.float32)
    ...         off = jnp.abs(expected - batch["target"])
    ...         return {"loss": off, "within_one": off < 1}
    >>> terms = Ordinal()(jnp.zeros((2, 3)), {"target": jnp.array([1, 2])})
    >>> {name: float(total / weight) for name, (total, weight) in sums_of(terms).items()}
    {'loss': 0.5, 'within_one': 0.5}
    """

    higher_is_better: ClassVar[frozenset[str]] = frozenset()
    target_kinds: ClassVar[tuple[str, ...] | None] = None
    metrics: ClassVar[tuple[str, ...]] = ()
    pool: ClassVar[Any] = None

    def __call__(self, outputs: Tree, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        """Return the terms of a batch by name."""
        raise NotImplementedError

    def check(self, outputs: Tree, source: Source) -> None:
        """Raise `ConfigError` where the model's outputs (`jax.ShapeDtypeStruct`s) do not suit the source's targets."""

    def fitted(self, source: Source) -> "Objective":
        """Return the objective with what it takes from training targets."""
        return self

    def predict(self, outputs: Tree) -> Tree:
        """Return predictions (B, …) of outputs."""
        return outputs

    def monitor(self, source: Source) -> str:
        """Return the score of validation by which epochs are compared, for a source of training examples."""
        return "val_loss"

    def measure(self, predictions: Any, targets: Any) -> dict[str, float]:
        """Return metrics of all predictions (N, …) and targets (N, …) together."""
        return {}

    def tuned(self, predictions: Any, targets: Any) -> "Objective":
        """Return the objective with what is chosen on the validation examples' predictions and targets."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the objective's name and fields as data for JSON."""
        plain: dict[str, Any] = (
            {each.name: _plain(getattr(self, each.name)) for each in fields(self)} if is_dataclass(self) else {}
        )
        return {"kind": name_of(self), **plain}


def name_of(objective: Any) -> str:
    """Return what a description calls an objective: its class's name, and the module of one that is not tlx's.

    >>> from tlx.objectives import Classification
    >>> name_of(Classification())
    'Classification'
    """
    kind = type(objective)
    return kind.__name__ if kind.__module__.startswith("tlx.") else f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(map(_plain, value))
    if callable(value):  # a function of the user's, by its name
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    return value


def check_target_kind(objective: Objective, source: Source, name: str) -> None:
    """Raise `ConfigError` where an objective does not take a source's targets."""
    kinds, kind = objective.target_kinds, target_kind(source)
    if kinds is not None and kind not in kinds:
        listed = " or ".join(map(repr, kinds))
        raise ConfigError(
            f"{name}: its targets are of the kind {kind!r}, and {type(objective).__name__} takes {listed}: choose "
            "another objective, or say what the targets are (a source's target_kind)"
        )


def checked_terms(terms: Any) -> dict[str, Any]:
    """Return what an objective returned as a dict; raise `ConfigError` for something else.

    >>> checked_terms(0.5)
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: objective: it returned float, expected terms by name: {'loss': ...}, values (B,) each
    """
    if not isinstance(terms, Mapping):
        raise ConfigError(
            f"objective: it returned {type(terms).__name__}, expected terms by name: {{'loss': ...}}, values (B,) each"
        )
    return dict(terms)


def sums_of(terms: Mapping[str, Any], mask: jax.Array | None = None, size: Any = None) -> Sums:
    """Add up the terms that an objective returns over a batch's rows.

    Args:
        terms: by name, values or pairs of values and weights (`Objective`).
        mask: (B,) bool, false where a row is padding.
        size: how many rows count; for a value without an axis and without a weight.

    >>> sums = sums_of({"loss": jnp.arange(3.0)}, jnp.array([True, True, False]))
    >>> [float(each) for each in sums["loss"]]
    [1.0, 2.0]
    """
    return {name: _sum(term, mask, size) for name, term in terms.items()}


def _sum(term: Any, mask: jax.Array | None, size: Any) -> tuple[jax.Array, jax.Array]:
    value, weight = term if isinstance(term, tuple) else (term, None)
    value = jnp.asarray(value)
    value = value.astype(jnp.int32) if value.dtype == jnp.bool_ else value
    if value.ndim == 0:
        if weight is not None:
            return value, jnp.asarray(weight)
        count = jnp.asarray(1 if size is None else size)
        return value * count.astype(value.dtype), count
    weight = jnp.ones(value.shape, jnp.int32) if weight is None else jnp.asarray(weight)
    return value.sum(where=mask), weight.sum(where=mask)


def loss_first(names: Iterable[str]) -> list[str]:
    """Sort the names of terms, the loss before the metrics; JAX gives dicts back in the order of their keys.

    >>> loss_first({"accuracy": 1, "loss": 2})
    ['loss', 'accuracy']
    """
    return sorted(names, key=lambda name: (name != "loss", name))


def mean_of(sums: Sums, name: str = "loss") -> jax.Array:
    """Return the mean that sums stand for: the sum of values over the sum of weights."""
    value, weight = sums[name]
    return value / weight.astype(value.dtype if jnp.issubdtype(value.dtype, jnp.floating) else jnp.float32)
