"""The state that training steps change, and what such a step is."""

from collections.abc import Mapping
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from tlx.objectives.objective import Sums, loss_first, mean_of
from tlx.tree.paths import Tree

NEVER = int(np.iinfo(np.int32).max)
_FLOAT, _COUNT = (jax.ShapeDtypeStruct((), dtype) for dtype in (jnp.float32, jnp.int32))
OF_CLASSES = {"loss": (_FLOAT, _FLOAT), "accuracy": (_COUNT, _COUNT)}


class Totals(flax.struct.PyTreeNode):
    """Sums over an epoch, kept on the device so that no step waits for the host.

    `sums` has, by name, the sum of a term's values and the sum of their weights (`tlx.objectives.sums_of`). `bad_step`
    is the first step of the phase whose loss was not finite, or NEVER.
    """

    sums: Sums
    bad_step: jax.Array

    @classmethod
    def zero(cls, shapes: Any = None) -> "Totals":
        """Begin at zero; `shapes` are of `Sums`, by default those of a classification."""
        shapes = OF_CLASSES if shapes is None else shapes
        sums = {
            name: (jnp.zeros((), value.dtype), jnp.zeros((), weight.dtype)) for name, (value, weight) in shapes.items()
        }
        return cls(sums, jnp.asarray(NEVER, jnp.int32))

    @classmethod
    def of(cls, plain: Mapping[str, Any], shapes: Any) -> "Totals":
        """Take them from plain numbers; the inverse of `plain`."""
        sums = {}
        for name, (value, weight) in shapes.items():
            total, weights = plain["sums"][name]
            sums[name] = jnp.asarray(total, value.dtype), jnp.asarray(weights, weight.dtype)
        return cls(sums, jnp.asarray(plain["bad_step"], jnp.int32))

    def plain(self) -> dict[str, Any]:
        """Wait for the device and return them as plain numbers, exactly."""
        sums = {name: [each.item() for each in pair] for name, pair in self.sums.items()}
        return {"sums": sums, "bad_step": int(self.bad_step)}

    def means(self) -> dict[str, float]:
        """Wait for the device and return the mean of each term."""
        return {name: float(mean_of(self.sums, name)) for name in loss_first(self.sums)}

    def after(self, step: jax.Array, sums: Sums) -> "Totals":
        """Return the sums after a step's."""
        bad = jnp.where(jnp.isfinite(mean_of(sums)), NEVER, step)
        return Totals(jax.tree.map(jnp.add, self.sums, sums), jnp.minimum(self.bad_step, bad))


class TrainState(flax.struct.PyTreeNode):
    """What a step changes: all of it is donated to the next one.

    `params` holds the leaves that train, with None for the frozen ones (`tlx.tree.partition`); `opt_state` and the
    gradient therefore have nothing for a frozen leaf. `step` counts within the phase, `key` is the phase's random key.
    `average` is the moving average of `params`, or None where none is kept.
    """

    step: jax.Array
    params: Tree
    batch_stats: Tree
    opt_state: Any
    key: jax.Array
    totals: Totals
    average: Tree = None


class StepFunction(Protocol):
    """`step(state, frozen, batch) -> state`, and the same traced for what has these shapes, to be compiled ahead."""

    def __call__(self, state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState: ...

    def lower(self, state: Any, frozen: Tree, batch: dict[str, Any]) -> Any: ...


class EpochFunction(Protocol):
    """`epoch(state, frozen, examples, rows, mask, first, end) -> state`, and the same traced."""

    def __call__(
        self, state: TrainState, frozen: Tree, examples: dict[str, Any], rows: Any, mask: Any, first: Any, end: Any
    ) -> TrainState: ...

    def lower(
        self, state: Any, frozen: Tree, examples: dict[str, Any], rows: Any, mask: Any, first: Any, end: Any
    ) -> Any: ...


@jax.jit
def all_finite(tree: Tree) -> jax.Array:
    """Tell whether every number of every leaf is finite.

    >>> bool(all_finite({"a": jnp.ones(3)})), bool(all_finite({"a": jnp.array([1.0, jnp.nan])}))
    (True, False)
    """
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)], dtype=bool))
