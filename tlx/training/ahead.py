"""Compile ahead: the programs of a phase, in the background, while data load or the phase before trains."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import hosts
from tlx.optim.memory import Memory
from tlx.optim.phases import Recipe
from tlx.training.activations import shape_after
from tlx.training.cache import ActivationCache
from tlx.training.evaluate import lower_scores
from tlx.training.phase import Task, frozen_part, program_of, validation_batch
from tlx.training.programs import Program
from tlx.training.resident import fits
from tlx.training.state import Totals, TrainState
from tlx.tree.labels import label_tree, trainable_mask
from tlx.tree.partition import partition
from tlx.tree.paths import Tree


class Ahead:
    """Compiles the programs of a recipe's phases one after the other, in a thread of its own.

    They are traced by the thread that asks (what JAX is told by context managers counts for one thread only), and
    what XLA makes of them is found by JAX when they are called. What a phase needs is foretold from the recipe and
    the cache's plan; where that was wrong, the phase compiles as it begins.
    """

    def __init__(self, task: Task, recipe: Recipe, cache: ActivationCache) -> None:
        self.task, self.recipe, self.cache = task, recipe, cache
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tlx-compile")
        self._prepared: dict[int, Program] = {}
        self._compiling: dict[tuple[int, str], Future[Any]] = {}

    def prepare(self, index: int, variables: Tree, memory: Memory) -> None:
        """Begin to compile what a phase of the recipe needs, if it does not end before."""
        phase, task = self.recipe[index], self.task
        if task.placement.by == "pmap" and hosts.count() > 1:  # which pmap cannot trace for shapes alone
            return
        plan = "mixing pictures" if task.mix else self.cache.plan(index, variables)
        after, place = (None, None) if isinstance(plan, str) else plan
        labels = label_tree(variables["params"], phase.rules)
        program, _ = program_of(task, phase, labels, memory, after)
        if self._prepared.get(index) == program:
            return
        self._prepared[index] = program
        trainable, _ = partition(variables["params"], trainable_mask(labels))
        state: Any = TrainState(
            average=None if task.ema is None else _abstract(trainable),
            step=jax.eval_shape(lambda: jnp.zeros((), jnp.int32)),
            params=_abstract(trainable),
            batch_stats=_abstract(variables.get("batch_stats", {})),
            opt_state=jax.eval_shape(program.tx.init, trainable),
            key=jax.eval_shape(lambda: jax.random.key(0)),
            totals=jax.eval_shape(Totals.zero),
        )
        placement = task.placement
        state, frozen = placement.state(state), placement.parameters(_abstract(frozen_part(variables, labels)))
        picture = (task.preprocess.height, task.preprocess.width, task.preprocess.channels)
        image = jax.ShapeDtypeStruct(picture, jnp.float32)
        if after is not None:
            image = shape_after(task.model, variables, task.preprocess, after)
        views = self.cache.parts["train"].views
        count = views * len(task.train)
        resident = place == "memory" and fits(task.model, after, count, image, task.accumulate)
        size, steps = task.feed.batch_size, task.epoch_steps
        parts, share = task.accumulate, placement.share(task.accumulate)
        uneven = len(task.train) % size > 0
        if resident:
            every = placement.replicated(_batch(image, (count,)))
            rows = jax.ShapeDtypeStruct((steps, size), np.int32)
            kept = jax.ShapeDtypeStruct((steps, size), np.bool_) if uneven else None
            line = jax.ShapeDtypeStruct((), np.int32)
            self._submit(index, "train", program.epoch.lower(state, frozen, every, rows, kept, line, line))
        else:
            leading = placement.leading(len(share.rows(size)), parts)
            batch = _batch(image, leading)
            batch |= {"mask": jax.ShapeDtypeStruct(leading, np.bool_)} if uneven or share.pads(size) else {}
            self._submit(index, "train", program.step.lower(state, frozen, placement.rows(batch, parts)))
        if task.validation is not None:
            validated = min(validation_batch(task, resident), len(task.validation))
            given = _batch(image, (len(placement.share().rows(validated)),))
            scores = lower_scores(task.model, after, placement, _abstract(variables), given["image"], given["label"])
            self._submit(index, "validate", scores)

    def _submit(self, index: int, what: str, lowered: Any) -> None:
        self._compiling[index, what] = self._pool.submit(lowered.compile)

    def wait(self, index: int, what: str) -> None:
        """Wait until what a phase needs to "train" or to "validate" is compiled."""
        running = self._compiling.pop((index, what), None)
        if running is not None and (fault := running.exception()):  # the phase will compile, and tell, itself
            logging.getLogger("tlx").info("tlx: could not compile ahead: %s", fault)

    def close(self) -> None:
        """Compile no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _batch(image: jax.ShapeDtypeStruct, leading: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    images = jax.ShapeDtypeStruct((*leading, *image.shape), image.dtype)
    return {"image": images, "label": jax.ShapeDtypeStruct(leading, jnp.int32)}


def _abstract(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
