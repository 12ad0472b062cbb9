"""The training step: a pure function of state, frozen parameters and batch, compiled with donated buffers."""

from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tlx.models.frozen import run_frozen
from tlx.training.evaluate import start_after
from tlx.training.loss import Loss
from tlx.training.mix import Mix
from tlx.tree.partition import combine
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


class TrainState(flax.struct.PyTreeNode):
    """What a step changes: all of it is donated to the next one.

    `params` holds the leaves that train, with None for the frozen ones (`tlx.tree.partition`); `opt_state` and the
    gradient therefore have nothing for a frozen leaf. `step` counts within the phase, `key` is the phase's random key.
    """

    step: jax.Array
    params: Tree
    batch_stats: Tree
    opt_state: Any
    key: jax.Array
    totals: Totals


class StepFunction(Protocol):
    """`step(state, frozen, batch) -> state`, and the same traced for what has these shapes, to be compiled ahead."""

    def __call__(self, state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState: ...

    def lower(self, state: Any, frozen: Tree, batch: dict[str, Any]) -> Any: ...


class EpochFunction(Protocol):
    """`epoch(state, frozen, examples, rows, mask) -> state`, and the same traced."""

    def __call__(
        self, state: TrainState, frozen: Tree, examples: dict[str, Any], rows: Any, mask: Any
    ) -> TrainState: ...

    def lower(self, state: Any, frozen: Tree, examples: dict[str, Any], rows: Any, mask: Any) -> Any: ...


def make_train_step(
    model: Any,
    labels: Tree,
    tx: optax.GradientTransformation,
    loss: Loss,
    mix: Mix | None = None,
    *,
    stored_norms: bool = False,
    after: str | None = None,
) -> StepFunction:
    """Build `step(state, frozen, batch) -> state` for one phase, jitted, with `state` donated.

    `model` is a Linen module of a base and a head (`tlx.models.Classifier`), `labels` the label tree of its parameters.
    `frozen` holds the frozen leaves, with None for those that train; the step reads them and no gradient exists for
    them. A batch is {'image': float32 (B, H, W, C), 'label': int32 (B,)}, with 'mask': bool (B,) where some rows are
    padding, which counts nowhere. `mix` mixes its pictures in pairs; with `stored_norms` batch norms run on
    their stored statistics. With `after` the images are what that stage makes of pictures, and no stage up to it runs.
    """

    def step(state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState:
        images, targets, mask = batch["image"], batch["label"], batch.get("mask")
        size = targets.shape[0] if mask is None else mask.sum()
        dropout, mixing = jax.random.split(jax.random.fold_in(state.key, state.step))
        mixed = mix(images, mixing, size) if mix else None

        def objective(trainable: Tree) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
            variables = {"params": combine(trainable, frozen), "batch_stats": state.batch_stats}
            with run_frozen(labels, model.base.stage_names, mask, stored_norms=stored_norms):
                logits, changed = model.apply(
                    variables,
                    images if mixed is None else mixed.images,
                    train=True,
                    **start_after(after),
                    mutable=["batch_stats"],
                    rngs={"dropout": dropout},
                )
            value = loss(logits, targets, mask)
            if mixed is not None:
                value = mixed.share * value + (1 - mixed.share) * loss(logits, targets[mixed.partner], mask)
            return value, (logits, changed.get("batch_stats", {}))

        (value, (logits, batch_stats)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        right = (logits.argmax(-1) == targets).sum(dtype=jnp.int32, where=mask)
        totals = Totals(
            loss=state.totals.loss + value * size,
            correct=state.totals.correct + right,
            examples=state.totals.examples + size,
            bad_step=jnp.minimum(state.totals.bad_step, jnp.where(jnp.isfinite(value), NEVER, state.step)),
        )
        return TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            key=state.key,
            totals=totals,
        )

    return jax.jit(step, donate_argnums=0)


def make_train_epoch(step: StepFunction) -> EpochFunction:
    """Build `epoch(state, frozen, examples, rows, mask) -> state`, jitted: a step for each line of `rows` (S, B).

    `examples` is a batch of all examples there are; `mask` (S, B) as in a step, or None. The host is not needed between
    two steps, which counts where these take less than a millisecond, as those of a head do. A convolution is no such
    step: in a loop, XLA's for a CPU is many times slower.
    """

    def epoch(
        state: TrainState, frozen: Tree, examples: dict[str, Any], rows: jax.Array, mask: jax.Array | None
    ) -> TrainState:
        def take(state: TrainState, at: tuple[jax.Array, jax.Array | None]) -> tuple[TrainState, None]:
            rows, mask = at
            batch = {name: every[rows] for name, every in examples.items()}
            return step(state, frozen, batch if mask is None else {**batch, "mask": mask}), None

        return jax.lax.scan(take, state, (rows, mask))[0]

    return jax.jit(epoch, donate_argnums=0)


@jax.jit
def all_finite(tree: Tree) -> jax.Array:
    """Tell whether every number of every leaf is finite.

    >>> bool(all_finite({"a": jnp.ones(3)})), bool(all_finite({"a": jnp.array([1.0, jnp.nan])}))
    (True, False)
    """
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)], dtype=bool))
