"""The shapes of a phase: what its programs are given, known before anything is there."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data.share import Share
from tlx.optim.memory import Memory
from tlx.optim.phases import Phase
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
    validated: dict[str, jax.ShapeDtypeStruct] | None
    variables: Tree
    resident: bool
    activations: str

    @classmethod
    def of(
        cls, task: Task, phase: Phase, plan: tuple[str, str] | str, views: int, variables: Tree, memory: Memory
    ) -> "PhaseShapes":
        """Foretell a phase that begins with these variables; `plan` as `ActivationCache.plan` returns it."""
        after, place = (None, None) if isinstance(plan, str) else plan
        labels = label_tree(variables["params"], phase.rules)
        program, _ = program_of(task, phase, variables["params"], memory, after)
        trainable, _ = partition(variables["params"], trainable_mask(labels))
        placement = task.placement
        state: Any = TrainState(
            average=None if task.ema is None else _abstract(trainable),
            step=jax.eval_shape(lambda: jnp.zeros((), jnp.int32)),
            params=_abstract(trainable),
            batch_stats=_abstract(variables.get("batch_stats", {})),
            opt_state=jax.eval_shape(program.tx.init, trainable),
            key=jax.eval_shape(lambda: jax.random.key(0)),
            totals=jax.eval_shape(Totals.zero),
        )
        picture = (task.preprocess.height, task.preprocess.width, task.preprocess.channels)
        image = jax.ShapeDtypeStruct(picture, jnp.float32)
        if after is not None:
            image = shape_after(task.model, variables, task.preprocess, after)
        count = views * len(task.train)
        resident = place == "memory" and fits(task.model, after, count, image, task.accumulate)
        validated = None
        if task.validation is not None:
            size = min(validation_batch(task, resident), len(task.validation))
            validated = _batch(image, (len(Share.of(placement).rows(size)),))
        return cls(
            task=task,
            program=program,
            state=placement.state(state),
            frozen=placement.parameters(_abstract(frozen_part(variables, labels))),
            given=_of_epoch(task, image, count) if resident else (_of_step(task, image),),
            validated=validated,
            variables=_abstract(variables),
            resident=resident,
            activations=plan if isinstance(plan, str) else f"after {after}, {_WHERE[str(place)]}",
        )

    def lower_training(self) -> Any:
        """Trace the program that trains."""
        program = self.program.epoch if self.resident else self.program.step
        return program.lower(self.state, self.frozen, *self.given)

    def lower_validation(self) -> Any:
        """Trace the program that validates, or return None where nothing is validated."""
        if self.validated is None:
            return None
        given, after = self.validated, self.program.after
        return lower_scores(self.task.model, after, self.task.placement, self.variables, given["image"], given["label"])


_WHERE = {"memory": "in memory", "disk": "on disk"}


def foreseen(
    task: Task, index: int, phase: Phase, cache: ActivationCache, variables: Tree, memory: Memory
) -> PhaseShapes:
    """Foretell phase `index` of a recipe, with what the cache would hold."""
    plan = "mixing pictures" if task.mix else cache.plan(index, variables)
    return PhaseShapes.of(task, phase, plan, cache.parts["train"].views, variables, memory)


def _of_epoch(task: Task, image: jax.ShapeDtypeStruct, count: int) -> tuple[Any, ...]:
    """Return all examples, their rows in an epoch, which of these count, and two line numbers."""
    size, steps = task.feed.batch_size, task.epoch_steps
    rows, line = jax.ShapeDtypeStruct((steps, size), np.int32), jax.ShapeDtypeStruct((), np.int32)
    kept = jax.ShapeDtypeStruct((steps, size), np.bool_) if len(task.train) % size else None
    return task.placement.replicated(_batch(image, (count,))), rows, kept, line, line


def _of_step(task: Task, image: jax.ShapeDtypeStruct) -> dict[str, Any]:
    placement, size, parts = task.placement, task.feed.batch_size, task.accumulate
    share = Share.of(placement, parts)
    leading = placement.leading(len(share.rows(size)), parts)
    batch = _batch(image, leading)
    if len(task.train) % size or share.pads(size):
        batch["mask"] = jax.ShapeDtypeStruct(leading, np.bool_)
    found: dict[str, Any] = placement.rows(batch, parts)
    return found


def _batch(image: jax.ShapeDtypeStruct, leading: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    images = jax.ShapeDtypeStruct((*leading, *image.shape), image.dtype)
    return {"image": images, "label": jax.ShapeDtypeStruct(leading, jnp.int32)}


def _abstract(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
