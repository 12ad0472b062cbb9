"""A fit's task: what stays the same through all its phases, and what of it each phase's program is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlx.data.inputs import InputSpec
from tlx.data.pipeline import Feed, steps_per_epoch
from tlx.data.source import Source
from tlx.devices.parallel import Placement
from tlx.logs import Log
from tlx.models.frozen import frozen_statistics
from tlx.models.staged import StagedModel
from tlx.objectives import Objective
from tlx.optim.memory import Cohort, Memory, cohorts_of, predict_memory, ranks_of
from tlx.optim.phases import Norms, Recipe
from tlx.stop import Stop, never
from tlx.training.callback import Callback
from tlx.training.method import StepOptions
from tlx.training.options import TrainOptions
from tlx.training.programs import Program
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import trainable_mask
from tlx.tree.partition import partition
from tlx.tree.paths import Tree, flatten, unflatten

HEAD_BATCH = 1024  # examples that a head is validated on at once


@dataclass(frozen=True)
class Task:
    """What stays the same through all phases of a fit.

    `labels` are the labels of the parameters in each phase of the recipe. `example` is a batch of one training example,
    and `sums` what the objective's terms add up to, as shapes.
    """

    model: StagedModel
    recipe: Recipe
    labels: tuple[Tree, ...]
    train: Source
    validation: Source | None
    spec: InputSpec
    objective: Objective
    options: TrainOptions
    feed: Feed
    placement: Placement
    example: Mapping[str, Any]
    sums: Mapping[str, Any]
    logs: Sequence[Log] = ()
    callbacks: Sequence[Callback] = ()  # those that are asked
    stop: Stop = never
    phases_before: int = 0  # of the fit that this one continues

    @property
    def seed(self) -> int:
        return self.feed.seed

    @property
    def epoch_steps(self) -> int:
        return steps_per_epoch(len(self.train), self.feed.batch_size)


def program_of(
    task: Task, index: int, params: Tree, memory: Memory, after: str | None, spec: InputSpec
) -> tuple[Program, tuple[Cohort, ...]]:
    """Say what the step of phase `index` is made of, and with which state of earlier phases its leaves go on."""
    phase, labels, options = task.recipe[index], task.labels[index], task.options
    cohorts = cohorts_of(memory, params, labels, phase.groups)
    step = StepOptions(
        spec=spec,
        mix=options.mix,
        stored_norms=phase.norms == "stored",
        after=after,
        accumulate=options.accumulate,
        ema=options.ema,
        placement=task.placement,
    )
    steps = phase.epochs * task.epoch_steps
    return Program.of(task.model, labels, phase.groups, ranks_of(cohorts), steps, task.objective, step), cohorts


def validation_batch(task: Task, resident: bool) -> int:
    """Return how many examples are validated at once."""
    return max(task.feed.batch_size, HEAD_BATCH) if resident else task.feed.batch_size


def memory_after(task: Task, index: int, variables: Tree, memory: Memory) -> Memory:
    """Predict what will be remembered after phase `index` of a recipe, with shapes for what it will have computed."""
    params = variables["params"]
    cohorts = cohorts_of(memory, params, task.labels[index], task.recipe[index].groups)
    return memory.updated(predict_memory(params, cohorts, task.phases_before + index))


def frozen_leaves(model: StagedModel, variables: Tree, labels: Tree, norms: Norms) -> dict[str, Any]:
    """Return what a phase leaves alone, by path: what counts as frozen, and what is fingerprinted.

    That is: the frozen parameters, and the batch statistics of frozen modules, with `norms` "stored" of all batch
    norms.
    """
    params = {path: leaf for path, leaf in flatten(frozen_part(variables, labels)).items() if leaf is not None}
    stats, stored = variables.get("batch_stats", {}), norms == "stored"
    statistics = frozen_statistics(labels, model.base.stage_names, stats, stored_norms=stored)
    parts = {"params": params, "batch_stats": statistics}
    return {f"{kind}/{path}": leaf for kind, part in parts.items() for path, leaf in part.items()}


def frozen_sha256(model: StagedModel, variables: Tree, labels: Tree, norms: Norms) -> str | None:
    """Fingerprint what a phase leaves alone (`frozen_leaves`), or return None where that is nothing."""
    leaves = frozen_leaves(model, variables, labels, norms)
    return fingerprint(unflatten(leaves)) if leaves else None


def frozen_part(variables: Tree, labels: Tree) -> Tree:
    """Return the frozen parameters, with None for those that train."""
    return partition(variables["params"], trainable_mask(labels))[1]
