"""The shapes of a phase: what its programs are given, known before anything is there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.share import Share
from tlx.data.source import sizes_of
from tlx.optim.memory import Memory
from tlx.training.activations import Stored, batch_shapes, shapes_after
from tlx.training.cache import StageActivations
from tlx.training.cache_parts import Plan
from tlx.training.evaluate import lower_scores
from tlx.training.kept import kept_type
from tlx.training.programs import Program
from tlx.training.resident import fits
from tlx.training.state import Totals, TrainState
from tlx.training.task import Task, frozen_part, program_of, validation_batch
from tlx.tree.labels import trainable_mask
from tlx.tree.partition import partition
from tlx.tree.paths import Tree


@dataclass(frozen=True)
class PhaseShapes:
    """A phase's program and what it is given, as shapes that know where they will lie.

    `given` is what `program.step` takes, a batch, or where the device holds all activations (`resident`) what
    `program.epoch` takes after state and frozen parameters. `activations` says what the batches are made of.
    """

    task: Task
    program: Program
    state: TrainState
    frozen: Tree
    given: tuple[Any, ...]
    validated: dict[str, Any] | None
    variables: Tree
    resident: bool
    activations: str
    share: float = 1.0  # of the batches that have these shapes

    @classmethod
    def of(
        cls,
        task: Task,
        index: int,
        plan: Plan,
        cache: StageActivations,
        variables: Tree,
        memory: Memory,
        example: Mapping[str, Any] | None = None,
    ) -> "PhaseShapes":
        """Predict phase `index` where it begins with these variables; `plan` as `StageActivations.plan` returns it.

        `example` is a batch of one example, as shapes, by default the task's.
        """
        after = plan.stage
        example, spec = dict(example or task.example), task.spec
        if after is not None:
            example["input"], spec = _activations(task, cache, variables, after, example["input"])
        labels = task.labels[index]
        program, _ = program_of(task, index, variables["params"], memory, after, spec)
        count = cache.parts["train"].views * len(task.train)
        inputs = jax.eval_shape(spec.on_device, example["input"])
        alone = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
        resident = plan.place == "memory" and fits(task.model, after, count, alone, task.options.accumulate)
        if sizes_of(task.train) is not None and cache.varies(after, variables):  # each text is of another length
            resident = False
        return cls(
            task=task,
            program=program,
            state=_state(task, program, variables, labels),
            frozen=task.placement.parameters(_abstract(frozen_part(variables, labels))),
            given=_of_epoch(task, example, count) if resident else (_of_step(task, example),),
            validated=_of_validation(task, example, resident),
            variables=_abstract(variables),
            resident=resident,
            activations=plan.note,
        )

    def lower_training(self) -> Any:
        """Trace the program that trains."""
        program = self.program.epoch if self.resident else self.program.step
        return program.lower(self.state, self.frozen, *self.given)

    def lower_validation(self) -> Any:
        """Trace the program that validates, or return None where nothing is validated."""
        if self.validated is None:
            return None
        task, options = self.task, self.program.options
        how = (options.after, options.spec, task.objective, task.placement)
        return lower_scores(task.model, *how, self.variables, self.validated)  # type: ignore[arg-type]


def predicted_shapes(
    task: Task, index: int, cache: StageActivations, variables: Tree, memory: Memory
) -> list[PhaseShapes]:
    """Predict phase `index` of a recipe, with what the cache would hold: once for each length of its batches.

    The first is for the longest.
    """
    plan = Plan(MIXING) if task.options.mix else cache.plan(index, variables)
    how = (task, index, plan, cache, variables, memory)
    longest = PhaseShapes.of(*how)
    sizes = sizes_of(task.train)
    if sizes is None or longest.resident or not cache.varies(plan.stage, variables):
        return [longest]
    each, counts = np.unique(sizes, return_counts=True)
    shares = dict(zip(each.tolist(), (counts / len(sizes)).tolist(), strict=True))
    shorter = sorted(shares)[-2::-1]
    found = [longest, *(PhaseShapes.of(*how, batch_shapes(task.train, task.spec, size)) for size in shorter)]
    return [replace(shapes, share=shares[size]) for shapes, size in zip(found, sorted(shares)[::-1], strict=True)]


MIXING = "examples are mixed"


def _activations(
    task: Task, cache: StageActivations, variables: Tree, after: str, collated: Tree
) -> tuple[Tree, Stored]:
    """Return what batches hold of a stage's activations, (1, …), as shapes, and the spec that casts them."""
    train = cache.parts["train"]
    leaves, structure = jax.tree.flatten(shapes_after(task.model, variables, train.spec, collated, after))
    types = [kept_type(cache.cache.dtype, leaf.dtype) for leaf in leaves]
    kept = [jax.ShapeDtypeStruct((1, *leaf.shape), dtype) for leaf, dtype in zip(leaves, types, strict=True)]
    ragged = cache.ragged(train, after, variables)
    return jax.tree.unflatten(structure, kept), Stored(tuple(str(leaf.dtype) for leaf in leaves), ragged)


def _state(task: Task, program: Program, variables: Tree, labels: Tree) -> Any:
    trainable, _ = partition(variables["params"], trainable_mask(labels))
    state: Any = TrainState(
        average=None if task.options.ema is None else _abstract(trainable),
        step=jax.eval_shape(lambda: jnp.zeros((), jnp.int32)),
        params=_abstract(trainable),
        batch_stats=_abstract(variables.get("batch_stats", {})),
        opt_state=jax.eval_shape(program.tx.init, trainable),
        key=jax.eval_shape(lambda: jax.random.key(0)),
        totals=jax.eval_shape(lambda: Totals.zero(task.sums)),
    )
    return task.placement.state(state)


def _of_epoch(task: Task, example: dict[str, Any], count: int) -> tuple[Any, ...]:
    """Return all examples, their rows in each step of an epoch, which of these count, and two numbers of steps."""
    size, steps = task.feed.batch_size, task.epoch_steps
    rows, number = jax.ShapeDtypeStruct((steps, size), np.int32), jax.ShapeDtypeStruct((), np.int32)
    kept = jax.ShapeDtypeStruct((steps, size), np.bool_) if len(task.train) % size else None
    return task.placement.replicated(_batch(example, (count,))), rows, kept, number, number


def _of_step(task: Task, example: dict[str, Any]) -> dict[str, Any]:
    placement, size, parts = task.placement, task.feed.batch_size, task.options.accumulate
    share = Share.of(placement, parts)
    leading = placement.leading(len(share.rows(size)), parts)
    batch = _batch(example, leading)
    if len(task.train) % size or share.pads(size):
        batch["mask"] = jax.ShapeDtypeStruct(leading, np.bool_)
    placed: dict[str, Any] = placement.rows(batch, parts)
    return placed


def _of_validation(task: Task, example: dict[str, Any], resident: bool) -> dict[str, Any] | None:
    if task.validation is None:
        return None
    size, share = min(validation_batch(task, resident), len(task.validation)), Share.of(task.placement)
    leading = (len(share.rows(size)),)
    batch = _batch(example, leading)
    if len(task.validation) % size or share.pads(size):
        batch["mask"] = jax.ShapeDtypeStruct(leading, np.bool_)
    return batch


def _batch(example: dict[str, Any], leading: tuple[int, ...]) -> dict[str, Any]:
    """Return a batch of examples as shapes."""
    batch: dict[str, Any] = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape[1:]), leaf.dtype), example
    )
    return batch


def _abstract(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
