"""The programs of a phase: what its training step is made of, and the step made once of each."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import optax

from tlx.devices.parallel import ONE
from tlx.models.staged import StagedModel
from tlx.objectives import Objective
from tlx.optim.groups import Group, optimizer
from tlx.training.method import StepOptions
from tlx.training.state import EpochFunction, StepFunction
from tlx.training.step import make_train_epoch, make_train_step
from tlx.tree.labels import trainable_mask
from tlx.tree.partition import partition
from tlx.tree.paths import Tree, flatten, unflatten


@dataclass(frozen=True)
class Program:
    """All that decides what the step of a phase does; equal programs share one, and so what is compiled of it.

    `labels`, `groups` and `ranks` (`tlx.optim.ranks_of`) are sorted items. Models are compared by their classes and
    fields: one whose class was patched in place goes on as it was traced (`forget_programs`).
    """

    model: StagedModel
    labels: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, Group], ...]
    ranks: tuple[tuple[str, int], ...]
    steps: int
    objective: Objective
    options: StepOptions

    @classmethod
    def of(
        cls,
        model: StagedModel,
        labels: Tree,
        groups: Mapping[str, Group],
        ranks: Mapping[str, int],
        steps: int,
        objective: Objective,
        options: StepOptions,
    ) -> "Program":
        return cls(model, _items(flatten(labels)), _items(groups), _items(ranks), steps, objective, options)

    @property
    def tx(self) -> optax.GradientTransformation:
        return _made(self)[0]

    @property
    def step(self) -> StepFunction:
        return _made(self)[1]

    @property
    def epoch(self) -> EpochFunction:
        """All steps of an epoch, each on a whole batch, for a head alone."""
        return _made(self)[2]


def _items(named: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(named.items(), key=lambda item: item[0]))


def forget_programs() -> None:
    """Forget the steps made so far and, unless a fit still runs them, what was compiled of them.

    >>> forget_programs()
    """
    _made.cache_clear()


@functools.lru_cache(maxsize=64)  # phases: those of two gradual recipes on a deep base
def _made(program: Program) -> tuple[optax.GradientTransformation, StepFunction, EpochFunction]:
    labels = unflatten(dict(program.labels))
    trained, _ = partition(labels, trainable_mask(labels))
    tx = optimizer(trained, dict(program.groups), program.steps, dict(program.ranks))
    step = make_train_step(program.model, labels, tx, program.objective, program.options)
    placement = program.options.placement
    by_all = ONE if placement.by == "pmap" else replace(placement, norms="all")
    undivided = replace(program.options, accumulate=1, placement=by_all)
    epoch = make_train_epoch(make_train_step(program.model, labels, tx, program.objective, undivided), by_all)
    return tx, step, epoch
