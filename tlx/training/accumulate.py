"""Gradient accumulation: a step that takes its batch in parts, one after the other."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from tlx.devices.compiler import jit
from tlx.devices.parallel import ONE
from tlx.training.method import Method, correct_of
from tlx.training.state import StepFunction, TrainState
from tlx.tree.paths import Tree


class Sums(flax.struct.PyTreeNode):
    """What the parts of a batch add up to: the gradient of the summed loss, this loss, its weights, counts."""

    gradient: Tree
    loss: jax.Array
    weight: jax.Array
    correct: jax.Array
    examples: jax.Array

    @classmethod
    def zero(cls, params: Tree) -> "Sums":
        zeros, none = jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32)
        return cls(zeros, jnp.zeros(()), jnp.zeros(()), none, none)


class Devices:
    """What a program sees of a batch: all of it, though it lie on many devices."""

    norms: Mapping[str, Any] = {}
    """How its batch norms run, as `tlx.models.frozen.run_frozen` takes it."""

    def total(self, value: Any) -> Any:
        """Sum over all devices."""
        return value

    def whole(self, rows: jax.Array) -> jax.Array:
        """Gather the rows of all devices."""
        return rows

    def own(self, rows: jax.Array) -> jax.Array:
        """Take this device's of the rows of all."""
        return rows

    def counted(self, mask: jax.Array | None) -> jax.Array | None:
        """Say which rows batch norms are to look at."""
        return mask


def add_part(
    method: Method,
    devices: Devices,
    sums: Sums,
    stats: Tree,
    state: TrainState,
    frozen: Tree,
    rows: dict[str, Any],
    key: jax.Array,
) -> tuple[Sums, Tree]:
    """Add what the rows of a part come to; return the sums and the batch statistics after it."""
    loss, mix = method.loss, method.mix
    images, targets, mask = rows["image"], rows["label"], rows.get("mask")
    size = targets.shape[0] if mask is None else mask.sum()
    among = devices.total(size)
    dropout, mixing = jax.random.split(key)
    share = None
    if mix:
        mixed = mix(devices.whole(images), mixing, jnp.maximum(among, 1))
        images, share = devices.own(mixed.images), mixed.share
        others = devices.own(devices.whole(targets)[mixed.partner])

    def objective(trainable: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Tree]]:
        logits, after = method.logits(trainable, frozen, stats, images, devices.counted(mask), dropout, **devices.norms)
        value, weight = loss.sums(logits, targets, mask)
        if share is not None:
            other, beside = loss.sums(logits, others, mask)
            value = share * value + (1 - share) * other
            weight = share * weight + (1 - share) * beside
        return value, (weight, logits, after)

    (value, (weight, logits, after)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    added = Sums(
        gradient=jax.tree.map(jnp.add, sums.gradient, gradient),
        loss=sums.loss + value,
        weight=sums.weight + weight,
        correct=sums.correct + correct_of(logits, targets, mask),
        examples=sums.examples + size,
    )
    if mask is None:
        return added, after
    # Of a part that is all padding, batch norms make NaN.
    kept: tuple[Sums, Tree] = jax.tree.map(
        lambda new, old: jnp.where(among > 0, new, old), (added, after), (sums, stats)
    )
    return kept


def apply_sums(method: Method, state: TrainState, sums: Sums, stats: Tree) -> TrainState:
    """Return the state after a batch whose parts came to these sums and batch statistics."""
    gradient = jax.tree.map(lambda leaf: leaf / sums.weight.astype(leaf.dtype), sums.gradient)
    return method.update(state, gradient, stats, sums.loss / sums.weight, sums.correct, sums.examples)


def key_of(state: TrainState, part: Any) -> jax.Array:
    """Return the random key of a part of a step."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.step), part)


def make_accumulated_step(method: Method, parts: int) -> StepFunction:
    """Build the step of `make_train_step` that takes a batch in so many equal parts, and so needs memory for one.

    The gradient is that of the whole batch's loss. Batch norms, dropout and `Mix` see a part at a time, and so differ
    from those of the whole.
    """
    placement = method.placement

    def add(
        sums: Sums, stats: Tree, state: TrainState, frozen: Tree, batch: dict[str, Any], part: jax.Array
    ) -> tuple[Sums, Tree]:
        rows = {name: jax.lax.dynamic_index_in_dim(each, part, keepdims=False) for name, each in batch.items()}
        found, after = add_part(method, Devices(), sums, stats, state, frozen, rows, key_of(state, part))
        return found.replace(gradient=placement.parameters(found.gradient)), placement.replicated(after)

    def zero(params: Tree) -> Sums:
        sums = Sums.zero(params)
        return sums.replace(gradient=placement.parameters(sums.gradient))

    return _Accumulated(zero, add, functools.partial(apply_sums, method), parts)


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
        sums, stats = self._zero(state.params), state.batch_stats
        batch = self._in_parts(batch)
        for part in range(self.parts):
            sums, stats = self._add(sums, stats, state, frozen, batch, np.int32(part))
        updated: TrainState = self._apply(state.replace(batch_stats={}), sums, stats)  # may be the buffers of `stats`
        return updated

    def _in_parts(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Put rows on the device, once for all parts, if they are not there as parts (`Placement.batch`)."""
        if np.ndim(batch["label"]) == 2:
            return batch
        return ONE.batch(batch, self.parts)

    def lower(self, state: Any, frozen: Tree, batch: dict[str, Any]) -> "_Lowered":
        sums, part = jax.eval_shape(Sums.zero, state.params), jax.ShapeDtypeStruct((), np.int32)
        return _Lowered(
            (
                self._zero.lower(state.params),
                self._add.lower(sums, state.batch_stats, state, frozen, batch, part),
                self._apply.lower(state.replace(batch_stats={}), sums, state.batch_stats),
            )
        )


class _Lowered(tuple[Any, ...]):
    """Several traced programs, compiled together."""

    def compile(self) -> list[Any]:
        return [each.compile() for each in self]
