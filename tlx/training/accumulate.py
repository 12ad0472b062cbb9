"""Gradient accumulation: a step that takes its batch in parts, one after the other."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices.compiler import jit
from tlx.devices.parallel import ONE
from tlx.training.method import ALL, Method, Part, Reductions, part_of
from tlx.training.state import StepFunction, TrainState
from tlx.tree.paths import Tree


def no_parts(state: TrainState) -> Part:
    """Return what the parts of a batch add up to before the first."""
    return Part(
        jax.tree.map(jnp.zeros_like, state.params), jax.tree.map(jnp.zeros_like, state.totals.sums), state.batch_stats
    )


def add_part(
    method: Method,
    so_far: Part,
    state: TrainState,
    frozen: Tree,
    batch: dict[str, Any],
    key: jax.Array,
    devices: Reductions = ALL,
) -> Part:
    """Add what the rows of a part come to."""
    part = part_of(method, state, frozen, so_far.stats, batch, key, devices)
    added = Part(
        jax.tree.map(jnp.add, so_far.gradient, part.gradient), jax.tree.map(jnp.add, so_far.sums, part.sums), part.stats
    )
    mask = batch.get("mask")
    if mask is None:
        return added
    # Of a part that is all padding, batch norms make NaN.
    among = devices.total(mask.sum())
    kept: Part = jax.tree.map(lambda new, old: jnp.where(among > 0, new, old), added, so_far)
    return kept


def apply_parts(method: Method, state: TrainState, parts: Part) -> TrainState:
    """Return the state after a batch whose parts came to these sums and batch statistics."""
    weight = parts.sums["loss"][1]
    gradient = jax.tree.map(lambda leaf: leaf / weight.astype(leaf.dtype), parts.gradient)
    return method.update(state, gradient, parts.stats, parts.sums)


def key_of(state: TrainState, part: Any) -> jax.Array:
    """Return the random key of a part of a step."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.step), part)


def make_accumulated_step(method: Method) -> StepFunction:
    """Build the step of `make_train_step` that takes a batch in equal parts, and so needs memory for one.

    The gradient is that of the whole batch's loss. Batch norms, dropout and `Mixup` see a part at a time, and so differ
    from those of the whole.
    """
    placement = method.options.placement

    def add(so_far: Part, state: TrainState, frozen: Tree, batch: dict[str, Any], number: jax.Array) -> Part:
        part = jax.tree.map(lambda each: jax.lax.dynamic_index_in_dim(each, number, keepdims=False), batch)
        added = add_part(method, so_far, state, frozen, part, key_of(state, number))
        return _placed(added)

    def zero(state: TrainState) -> Part:
        return _placed(no_parts(state))

    def _placed(parts: Part) -> Part:
        return Part(
            placement.parameters(parts.gradient), placement.replicated(parts.sums), placement.replicated(parts.stats)
        )

    return _Accumulated(zero, add, functools.partial(apply_parts, method), method.options.accumulate)


class _Accumulated:
    """A program that adds a part's gradient, called for each, and one that updates.

    They are not one program with a loop: on a CPU a convolution in a loop is many times slower, and unrolled it would
    be compiled for each part.
    """

    def __init__(self, zero: Any, add: Any, apply: Any, parts: int) -> None:
        self.parts = parts
        self._zero = jax.jit(zero)
        self._add = jit(add, donate_argnums=0)
        self._apply = jax.jit(apply, donate_argnums=0)

    def __call__(self, state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState:
        so_far = self._zero(state)
        batch = self._in_parts(batch)
        for number in range(self.parts):
            so_far = self._add(so_far, state, frozen, batch, np.int32(number))
        updated: TrainState = self._apply(state.replace(batch_stats={}), so_far)  # may be the buffers of its own
        return updated

    def _in_parts(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Put rows on the device, once for all parts, if they are not there as parts (`Placement.batch`)."""
        if all(isinstance(leaf, jax.Array) and leaf.shape[0] == self.parts for leaf in jax.tree.leaves(batch)):
            return batch
        return ONE.batch(batch, self.parts)

    def lower(self, state: Any, frozen: Tree, batch: dict[str, Any]) -> "_Lowered":
        so_far, number = jax.eval_shape(no_parts, state), jax.ShapeDtypeStruct((), np.int32)
        return _Lowered(
            (
                self._zero.lower(state),
                self._add.lower(so_far, state, frozen, batch, number),
                self._apply.lower(state.replace(batch_stats={}), so_far),
            )
        )


class _Lowered(tuple[Any, ...]):
    """Several traced programs, compiled together."""

    def compile(self) -> list[Any]:
        return [each.compile() for each in self]
