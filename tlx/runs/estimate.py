"""An estimate: what a run would take of memory and time, before it is begun."""

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.data import Data, Source, Subset, batches
from tlx.data.share import Share
from tlx.devices import hosts
from tlx.errors import ConfigError
from tlx.models.registry import build_model
from tlx.optim.memory import Memory
from tlx.optim.phases import Recipe
from tlx.presets.pretrained import Pretrained
from tlx.progress import doing
from tlx.runs.begin import begin
from tlx.runs.options import RunOptions
from tlx.training.activations import batch_of, compute
from tlx.training.options import TrainOptions, as_options
from tlx.training.prepare import activation_cache, make_task
from tlx.training.shapes import PhaseShapes, predicted_shapes
from tlx.training.store import free_memory
from tlx.training.task import Task, memory_after
from tlx.tree.paths import Tree

TRIES = 5  # steps, and batches, that are timed


@dataclass(frozen=True)
class PhaseEstimate:
    """What a phase would take, if it runs to its end.

    `memory` is the most that a device needs at once, in bytes; `seconds` the time of a step, and `reading` that of
    making its batch beside, None where it does not fit or needs none; `before` the seconds in which activations are
    computed. Batches are made of what stage `after` makes of inputs, which `activations` says is kept where, or of
    raw inputs, and `activations` says why.
    """

    name: str
    epochs: int
    steps: int
    after: str | None
    activations: str
    memory: int
    seconds: float | None
    reading: float | None
    before: float

    @property
    def total(self) -> float | None:
        """The phase's seconds, without validation and compilation."""
        if self.seconds is None:
            return None
        return self.before + self.steps * max(self.seconds, self.reading or 0)


@dataclass(frozen=True)
class Estimate:
    """What a run would take: on how many devices of what kind, how much memory one has to give, phase by phase."""

    device: str
    devices: int
    available: int
    phases: tuple[PhaseEstimate, ...]

    @property
    def memory(self) -> int:
        """The most that a device needs at once, in bytes."""
        return max(phase.memory for phase in self.phases)

    @property
    def fits(self) -> bool:
        return self.memory <= self.available

    @property
    def seconds(self) -> float | None:
        """The seconds of all phases, or None where one does not fit."""
        totals = [phase.total for phase in self.phases]
        return None if None in totals else sum(total for total in totals if total is not None)


def estimate(
    base: Pretrained, data: Data, recipe: Recipe | None = None, options: RunOptions | TrainOptions | None = None
) -> Estimate:
    """Estimate what `tlx.finetune` would take with the same arguments, on the devices that are there.

    Each phase's programs are compiled, and XLA says what memory they need (`memory_analysis`); with early stopping the
    best epoch's weights come on top. Then a few steps run on zeros, and a few batches are read, for the time. What the
    first phases would leave is not known, only its shapes; a later phase that begins with them takes as long. Nothing
    is written.

    Args:
        base: what to start from (`tlx.load`).
        data: what to train, validate and test on.
        recipe: the phases; None takes `tlx.recipes.finetune(base)`.
        options: what else to train by (`tlx.RunOptions`).

    Returns:
        What the run would take, phase by phase.

    Raises:
        ConfigError, DataError: as `finetune` before its first step.

    >>> import tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
    >>> recipe = tlx.recipes.finetune(base, head_epochs=2, base_epochs=3)
    >>> estimated = estimate(base, data, recipe, tlx.RunOptions(batch_size=10))
    >>> [(phase.name, phase.steps, phase.activations) for phase in estimated.phases], estimated.fits
    ([('head', 4, 'after dense2, in memory'), ('all', 6, 'no stage is frozen from the first one on')], True)
    """
    if hosts.count() > 1:
        raise ConfigError("an estimate is made by one process: leave coordinator, processes and process out")
    start, data, recipe, options = begin(base, data, recipe, as_options(options, RunOptions))
    variables = start.variables
    task = make_task(build_model(start.config), variables, recipe, data, options)
    cache = activation_cache(task)
    devices = task.placement.devices
    available, computed = _available(devices[0]), None
    memory = Memory()
    phases = []
    for index, phase in enumerate(task.recipe):
        doing(f"compiling the programs of phase {phase.name!r}")
        shapes, *shorter = predicted_shapes(task, index, cache, variables, memory)
        needed = _memory(shapes, kept=phase.patience is not None)
        after = shapes.program.options.after
        doing(f"timing phase {phase.name!r}")
        fits, reads = needed <= available, not shapes.resident and not shapes.activations.endswith("in memory")
        phases.append(
            PhaseEstimate(
                name=phase.name,
                epochs=phase.epochs,
                steps=phase.epochs * task.epoch_steps,
                after=after,
                activations=shapes.activations,
                memory=needed,
                seconds=sum(each.share * seconds_of(each) for each in (shapes, *shorter)) if fits else None,
                reading=_reading(task, task.train) if reads else None,
                before=_computing(task, variables, after, cache.parts) if after not in (None, computed) else 0.0,
            )
        )
        computed = after
        memory = memory_after(task, index, variables, memory)
    return Estimate(devices[0].device_kind, len(devices), available, tuple(phases))


def _available(device: jax.Device) -> int:
    """Return how many bytes a device has to give: of a CPU's, an equal share of what is free."""
    found = device.memory_stats() or {}
    return int(found["bytes_limit"]) if "bytes_limit" in found else free_memory() // jax.local_device_count()


def _memory(shapes: PhaseShapes, *, kept: bool) -> int:
    """Return the most bytes that one device needs at once for a phase's programs, and what they leave untouched."""
    trained = _bytes((shapes.state.params, shapes.state.opt_state, shapes.state.batch_stats))
    training = memory_of(shapes)
    validation = shapes.lower_validation()
    validating = 0 if validation is None else _of_program(validation.compile()) + trained
    return max(training, validating) + (trained if kept else 0)


def memory_of(shapes: PhaseShapes) -> int:
    """Return the bytes that one device needs for the programs that train."""
    compiled = shapes.lower_training().compile()
    return max(map(_of_program, compiled if isinstance(compiled, list) else [compiled]))


def _of_program(compiled: Any) -> int:
    said = compiled.memory_analysis()
    given = said.argument_size_in_bytes + said.output_size_in_bytes - said.alias_size_in_bytes
    return int(given + said.temp_size_in_bytes + said.generated_code_size_in_bytes)


def _bytes(tree: Tree) -> int:
    """Return the bytes that one device holds of a tree."""

    def of(leaf: Any) -> int:
        shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(of(leaf) for leaf in jax.tree.leaves(tree))


def seconds_of(shapes: PhaseShapes, tries: int = TRIES) -> float:
    """Return the median time of so many steps, on zeros."""
    state, frozen = jax.tree.map(_filled, (shapes.state, shapes.frozen))
    given = jax.tree.map(_filled, shapes.given)
    take: Any = shapes.program.step
    steps = 1
    if shapes.resident:
        *all_, first, _ = given
        take, steps = shapes.program.epoch, len(given[1])
        given = (*all_, first, np.int32(steps))
    times = []
    for _ in range(1 + tries):
        began = time.perf_counter()
        state = jax.block_until_ready(take(state, frozen, *given))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:]) / steps


def _filled(shape: Any) -> Any:
    """Make an array of a shape: zeros, or of truth values what counts."""
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jax.device_put(jax.random.key(0), shape.sharding)
    fill = np.ones if shape.dtype == np.bool_ else np.zeros
    return jax.device_put(fill(shape.shape, shape.dtype), shape.sharding)


def _reading(task: Task, source: Source) -> float:
    """Return the time in which a batch is made, as all threads together make them."""
    feed = replace(task.feed, share=Share.of(task.placement, task.options.accumulate))
    stream = batches(source, task.spec, feed, epoch=1)
    began, count = time.perf_counter(), 0
    for count, _ in enumerate(stream, 1):
        if count == 2 * TRIES:
            break
    return (time.perf_counter() - began) / count


def _computing(task: Task, variables: Tree, stage: str | None, parts: Any) -> float:
    """Return the time in which a stage's activations would be computed, from a batch of training examples."""
    assert stage is not None
    size = min(batch_of(parts["train"].inputs), len(task.train))
    few = Subset(task.train, range(size))
    times = []
    for _ in range(2):  # the first one compiles
        began = time.perf_counter()
        feed = replace(task.feed, batch_size=size, shuffle=False, balanced=False)
        for _ in compute(task.model, variables, few, task.spec, feed, (stage,), placement=task.placement):
            pass
        times.append(time.perf_counter() - began)
    return times[1] / size * sum(part.views * len(part.source) for part in parts.values())
