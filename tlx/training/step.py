"""The training step: a pure function of state, frozen parameters and batch, compiled with donated buffers."""

from dataclasses import replace
from typing import Any

import jax
import optax

from tlx.devices.compiler import jit
from tlx.devices.parallel import ONE, Placement
from tlx.training.accumulate import make_accumulated_step
from tlx.training.loss import Loss
from tlx.training.method import Method, correct_of
from tlx.training.mix import Mix
from tlx.training.pmapped import make_pmapped_step
from tlx.training.state import EpochFunction, StepFunction, TrainState
from tlx.tree.paths import Tree


def make_train_step(
    model: Any,
    labels: Tree,
    tx: optax.GradientTransformation,
    loss: Loss,
    mix: Mix | None = None,
    *,
    stored_norms: bool = False,
    after: str | None = None,
    accumulate: int = 1,
    ema: float | None = None,
    placement: Placement = ONE,
) -> StepFunction:
    """Build `step(state, frozen, batch) -> state` for one phase, jitted, with `state` donated.

    `model` is a Linen module of a base and a head (`tlx.models.Classifier`), `labels` the label tree of its parameters.
    `frozen` holds the frozen leaves, with None for those that train; the step reads them and no gradient exists for
    them. A batch is {'image': float32 (B, H, W, C), 'label': int32 (B,)}, with 'mask': bool (B,) where some rows are
    padding, which counts nowhere. `mix` mixes its pictures in pairs; with `stored_norms` batch norms run on
    their stored statistics. With `after` the images are what that stage makes of pictures, and no stage up to it runs.
    With `accumulate` a batch, which must be divisible by it, goes through the model in so many parts
    (`make_accumulated_step`); with `ema` the state's `average` follows its parameters (`Method`). With a `placement` on
    many devices state, frozen parameters and batch come as it puts them.
    """
    method = Method(model, labels, tx, loss, mix, stored_norms, after, ema, placement)
    if placement.by == "pmap":
        return make_pmapped_step(replace(method, placement=ONE), placement, accumulate)
    if accumulate > 1:
        return make_accumulated_step(method, accumulate)

    def step(state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState:
        images, targets, mask = batch["image"], batch["label"], batch.get("mask")
        size = targets.shape[0] if mask is None else mask.sum()
        dropout, mixing = jax.random.split(jax.random.fold_in(state.key, state.step))
        mixed = mix(images, mixing, size) if mix else None

        def objective(trainable: Tree) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
            shown = images if mixed is None else mixed.images
            logits, stats = method.logits(trainable, frozen, state.batch_stats, shown, mask, dropout)
            value = loss(logits, targets, mask)
            if mixed is not None:
                value = mixed.share * value + (1 - mixed.share) * loss(logits, targets[mixed.partner], mask)
            return value, (logits, stats)

        (value, (logits, stats)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        return method.update(state, gradient, stats, value, correct_of(logits, targets, mask), size)

    found: StepFunction = jit(step, donate_argnums=0)
    return found


def make_train_epoch(step: StepFunction, placement: Placement = ONE) -> EpochFunction:
    """Build `epoch(state, frozen, examples, rows, mask, first, end) -> state`, jitted: a step a line of `rows` (S, B).

    `examples` is a batch of all examples there are; `mask` (S, B) as in a step, or None. Lines `first` to `end` - 1 are
    taken by the same program whichever these are, so that an epoch in pieces gives the bits of a whole one. The host is
    not needed between two steps, which counts where these take less than a millisecond, as those of a head do. A
    convolution is no such step: in a loop, XLA's for a CPU is many times slower.
    """

    def epoch(
        state: TrainState,
        frozen: Tree,
        examples: dict[str, Any],
        rows: jax.Array,
        mask: jax.Array | None,
        first: jax.Array,
        end: jax.Array,
    ) -> TrainState:
        def take(line: jax.Array, state: TrainState) -> TrainState:
            batch = {name: every[rows[line]] for name, every in examples.items()}
            return step(state, frozen, batch if mask is None else {**batch, "mask": mask[line]})

        return placement.state(jax.lax.fori_loop(first, end, take, state))  # XLA may end a loop with it elsewhere

    return jax.jit(epoch, donate_argnums=0)
