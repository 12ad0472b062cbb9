"""The training step: a pure function of state, frozen parameters and batch, compiled with donated buffers."""

from dataclasses import replace
from typing import Any

import jax
import optax

from tlx.devices.compiler import jit
from tlx.devices.parallel import ONE, Placement
from tlx.models.staged import StagedModel
from tlx.objectives.objective import Objective
from tlx.training.accumulate import make_accumulated_step
from tlx.training.method import Method, StepOptions, part_of
from tlx.training.pmapped import make_pmapped_step
from tlx.training.state import EpochFunction, StepFunction, TrainState
from tlx.tree.paths import Tree

PLAIN = StepOptions()


def make_train_step(
    model: StagedModel,
    labels: Tree,
    tx: optax.GradientTransformationExtraArgs,
    objective: Objective,
    options: StepOptions = PLAIN,
) -> StepFunction:
    """Build `step(state, frozen, batch) -> state` for one phase, jitted, with `state` donated.

    Args:
        model: a Linen module of a base and a head (`tlx.models.Classifier`).
        labels: the label tree of its parameters.
        tx: the optimizer of the leaves that train.
        objective: what to train for.
        options: what the step does beside that.

    Returns:
        The step. `frozen` holds the frozen leaves, with None for those that train; the step reads them and no gradient
        exists for them. A batch is {'input': (B, …), 'target': (B, …)} and further columns, with 'mask': bool (B,)
        where some rows are padding, which counts nowhere. With a placement on many devices state, frozen parameters and
        batch come as it puts them.
    """
    method, placement = Method(model, labels, tx, objective, options), options.placement
    if placement.by == "pmap":
        return make_pmapped_step(replace(method, options=replace(options, placement=ONE)), placement)
    if options.accumulate > 1:
        return make_accumulated_step(method)

    def step(state: TrainState, frozen: Tree, batch: dict[str, Any]) -> TrainState:
        key = jax.random.fold_in(state.key, state.step)
        part = part_of(method, state, frozen, state.batch_stats, batch, key, mean=True)
        return method.update(state, part.gradient, part.stats, part.sums)

    jitted: StepFunction = jit(step, donate_argnums=0)
    return jitted


def make_train_epoch(step: StepFunction, placement: Placement = ONE) -> EpochFunction:
    """Build `epoch(state, frozen, examples, rows, mask, first, end) -> state`, jitted: a step for each row of `rows`.

    `examples` is a batch of all examples there are; `rows` (S, B) are those of each of S steps; `mask` (S, B) as in a
    step, or None. Steps `first` to `end` - 1 are taken by the same program whichever these are, so that an epoch in
    pieces gives the bits of a whole one. The host is not needed between two steps, which counts where these take less
    than a millisecond, as those of a head do. A convolution is no such step: in a loop, XLA's for a CPU is many times
    slower.
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
        def take(number: jax.Array, state: TrainState) -> TrainState:
            batch = jax.tree.map(lambda every: every[rows[number]], examples)
            return step(state, frozen, batch if mask is None else {**batch, "mask": mask[number]})

        ended: TrainState = placement.state(jax.lax.fori_loop(first, end, take, state))  # XLA may end it elsewhere
        return ended

    return jax.jit(epoch, donate_argnums=0)
