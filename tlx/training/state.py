"""The state that training steps change, and what such a step is."""

from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp

from tlx.tree.paths import Tree

NEVER = jnp.iinfo(jnp.int32).max


class Totals(flax.struct.PyTreeNode):
    """Sums over an epoch, kept on the device so that no step waits for the host.

    `loss` sums each batch's loss times its examples (with class weights, each batch's weighted mean). `bad_step` is the
    first step of the phase whose loss was not finite, or NEVER.
    """

    loss: jax.Array
    correct: jax.Array
    examples: jax.Array
    bad_step: jax.Array

    @classmethod
    def zero(cls) -> "Totals":
        return cls(jnp.zeros(()), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), jnp.asarray(NEVER, jnp.int32))

    @classmethod
    def of(cls, plain: tuple[float, int, int, int]) -> "Totals":
        """Take them from plain numbers; the inverse of `plain`."""
        loss, *counts = plain
        return cls(jnp.asarray(loss, jnp.float32), *(jnp.asarray(count, jnp.int32) for count in counts))

    def plain(self) -> tuple[float, int, int, int]:
        """Wait for the device and return them as plain numbers, exactly."""
        return float(self.loss), int(self.correct), int(self.examples), int(self.bad_step)

    def after(self, step: jax.Array, value: Any, correct: Any, size: Any) -> "Totals":
        """Return the sums after a step's loss, correct answers and examples."""
        return Totals(
            loss=self.loss + value * size,
            correct=self.correct + correct,
            examples=self.examples + size,
            bad_step=jnp.minimum(self.bad_step, jnp.where(jnp.isfinite(value), NEVER, step)),
        )


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
