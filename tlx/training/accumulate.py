"""Gradient accumulation: a step that takes its batch in parts, one after the other."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from tlx.models.compiler import jit
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


def make_accumulated_step(method: Method, parts: int) -> StepFunction:
    """Build the step of `make_train_step` that takes a batch in so many equal parts, and so needs memory for one.

    The gradient is that of the whole batch's loss. Batch norms, dropout and `Mix` see a part at a time, and so differ
    from those of the whole.
    """
    loss, mix = method.loss, method.mix

    def add(
        sums: Sums, stats: Tree, state: TrainState, frozen: Tree, batch: dict[str, Any], part: jax.Array
    ) -> tuple[Sums, Tree]:
        count = batch["label"].shape[0] // parts
        rows = {name: jax.lax.dynamic_slice_in_dim(each, part * count, count) for name, each in batch.items()}
        images, targets, mask = rows["image"], rows["label"], rows.get("mask")
        size = count if mask is None else mask.sum()
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), part)
        dropout, mixing = jax.random.split(key)
        mixed = mix(images, mixing, jnp.maximum(size, 1)) if mix else None

        def objective(trainable: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Tree]]:
            shown = images if mixed is None else mixed.images
            logits, after = method.logits(trainable, frozen, stats, shown, mask, dropout)
            value, weight = loss.sums(logits, targets, mask)
            if mixed is not None:
                other, beside = loss.sums(logits, targets[mixed.partner], mask)
                value = mixed.share * value + (1 - mixed.share) * other
                weight = mixed.share * weight + (1 - mixed.share) * beside
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
            lambda new, old: jnp.where(size > 0, new, old), (added, after), (sums, stats)
        )
        return kept

    def apply(state: TrainState, sums: Sums, stats: Tree) -> TrainState:
        gradient = jax.tree.map(lambda leaf: leaf / sums.weight.astype(leaf.dtype), sums.gradient)
        return method.update(state, gradient, stats, sums.loss / sums.weight, sums.correct, sums.examples)

    return _Accumulated(add, apply, parts)


class _Accumulated:
    """A program that adds a part's gradient, called for each, and one that updates.

    They are not one program with a loop: on a CPU a convolution in a loop is many times slower, and unrolled it would
    be compiled for each part.
    """

    def __init__(self, add: Any, apply: Any, parts: int) -> None:
        self.parts = parts
        self._zero = jax.jit(Sums.zero)
        self._add = jit(add, donate_argnums=0)
        self._apply = jax.jit(apply, donate_argnums=0)

    def __call__(self, state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState:
        sums, stats = self._zero(state.params), state.batch_stats
        batch = jax.device_put(batch)  # once for all parts
        for part in range(self.parts):
            sums, stats = self._add(sums, stats, state, frozen, batch, np.int32(part))
        updated: TrainState = self._apply(state.replace(batch_stats={}), sums, stats)  # may be the buffers of `stats`
        return updated

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

    def compile(self) -> None:
        for each in self:
            each.compile()
