"""A function of one's own as the objective."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from tlx.data.source import Source, target_kind
from tlx.errors import ConfigError
from tlx.objectives.classification import Classification
from tlx.objectives.multi_label import MultiLabel
from tlx.objectives.objective import Objective
from tlx.objectives.regression import Regression
from tlx.objectives.token_classification import TokenClassification

DEFAULTS: dict[str, Objective] = {
    "class": Classification(),
    "soft": Classification(),
    "multi-label": MultiLabel(),
    "regression": Regression(),
    "tags": TokenClassification(),
}


@dataclass(frozen=True)
class ObjectiveFunction(Objective):
    """Train by `function(outputs, batch, key)`, which returns terms by name (`Objective`).

    >>> import jax.numpy as jnp
    >>> def absolute(outputs, batch, key):
    ...     return {"loss": jnp.abs(outputs[:, 0] - batch["target"][:, 0])}
    >>> ObjectiveFunction(absolute)(jnp.zeros((2, 1)), {"target": jnp.ones((2, 1))})["loss"].tolist()
    [1.0, 1.0]
    """

    function: Callable[[Any, Mapping[str, Any], jax.Array | None], Mapping[str, Any]]

    def __call__(self, outputs: Any, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        return self.function(outputs, batch, key)


def as_objective(objective: Any, source: Source) -> Objective:
    """Return what a fit takes as its objective: an `Objective`, a function, or None for that of the source's targets.

    Raise `ConfigError` for something else, and where there is no target to choose by.

    >>> from tlx.data import ColumnSource
    >>> lengths = ColumnSource({"input": [[1.0], [2.0]], "target": [1.0, 2.0]}, ("length",), "regression")
    >>> as_objective(None, lengths)
    Regression(loss='squared', delta=1.0, mean=(), std=())
    >>> as_objective(1.0, lengths)
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: objective: 1.0 is neither a tlx.Objective nor a function of outputs, batch and key
    """
    if objective is None:
        kind = target_kind(source)
        if kind not in DEFAULTS:
            raise ConfigError("objective: the examples have no targets: say what to train for (TrainOptions.objective)")
        return DEFAULTS[kind]
    if isinstance(objective, type) or not callable(objective):
        raise ConfigError(
            f"objective: {objective!r:.80} is neither a tlx.Objective nor a function of outputs, batch and key"
        )
    made = objective if isinstance(objective, Objective) else ObjectiveFunction(objective)
    try:
        hash(made)
    except TypeError as error:
        raise ConfigError(
            f"objective: {type(objective).__name__} cannot be hashed, as JAX needs it: make it a frozen dataclass"
        ) from error
    return made
