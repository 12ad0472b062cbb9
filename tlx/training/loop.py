"""The loop: train a model through the phases of a recipe."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from tlx.data.preprocess import Preprocess
from tlx.data.source import Source
from tlx.errors import ConfigError
from tlx.optim.phases import Phase, Recipe
from tlx.training.checkpoint import Checkpoints, Snapshot
from tlx.training.log import Log
from tlx.training.loss import Loss
from tlx.training.phase import PhaseRecord, PhaseRun, Task, frozen_part
from tlx.training.step import Totals
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import label_tree
from tlx.tree.paths import Tree, flatten, matches, select, unflatten


@dataclass(frozen=True)
class Fit:
    """What `fit` returns: the trained variables (the whole tree), and a record of each phase."""

    variables: Tree
    phases: tuple[PhaseRecord, ...]


def fit(
    model: Any,
    variables: Tree,
    recipe: Recipe,
    train: Source,
    validation: Source | None,
    preprocess: Preprocess,
    *,
    batch_size: int = 32,
    seed: int = 0,
    loss: Loss | None = None,
    logs: Sequence[Log] = (),
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Train a model through the phases of a recipe and return its variables and a record of each phase.

    `model` is a Linen module of a staged base and a head (`tlx.models.Classifier`), `variables` its whole tree. The
    optimizer's state is kept by path from phase to phase. With `checkpoints`, the state is saved after every epoch, and
    training goes on from the last one that is there. Raise `DivergedError` when the loss or a trained parameter is no
    longer finite; the last good checkpoint stays.
    """
    task = Task(model, train, validation, preprocess, batch_size, seed, loss or Loss(), logs)
    snapshot = (checkpoints.latest() if checkpoints else None) or Snapshot(variables)
    for index, phase in enumerate(recipe):
        if index >= snapshot.phase:
            before = sum(record["epochs"] for record in snapshot.records)
            snapshot = _run_phase(task, index, phase, snapshot, before, checkpoints)
    return Fit(snapshot.variables, tuple(PhaseRecord(**record) for record in snapshot.records))


def initialise(model: Any, preprocess: Preprocess, seed: int) -> Tree:
    """Return fresh variables of a model for pictures that `preprocess` makes, as nested dicts of float32 arrays."""
    pictures = jnp.zeros((1, preprocess.height, preprocess.width, preprocess.channels), jnp.float32)
    variables: Tree = jax.jit(model.init)(jax.random.key(seed), pictures)
    return variables


def _run_phase(
    task: Task, index: int, phase: Phase, snapshot: Snapshot, epochs_before: int, checkpoints: Checkpoints | None
) -> Snapshot:
    """Run a phase, or what is left of it, and return the snapshot with which the next one begins."""
    if phase.patience is not None and task.validation is None:
        raise ConfigError(f"phase {phase.name!r} stops early on validation, and there is no validation data")
    if snapshot.sha256 is None:
        snapshot = _begin(task, phase, snapshot)
    run = PhaseRun.of(task, phase, snapshot)
    state = run.start(snapshot, jax.random.fold_in(jax.random.key(task.seed), index))
    for log in task.logs:
        log.phase(phase.name, phase.epochs, phase.epochs * task.epoch_steps, snapshot.epoch * task.epoch_steps)
    while snapshot.epoch < phase.epochs and not _exhausted(phase, snapshot):
        started = time.monotonic()
        epoch = snapshot.epoch + 1
        state = run.train_epoch(state, epochs_before + epoch)
        snapshot, record = run.end_epoch(state, snapshot, epoch, time.monotonic() - started)
        for log in task.logs:
            log.epoch({"phase": phase.name, "phase_index": index, **record, "epoch": epochs_before + epoch})
        if checkpoints:
            checkpoints.save(epochs_before + epoch, snapshot)
        state = state.replace(totals=Totals.zero())
    return run.finish(snapshot, index)


def _begin(task: Task, phase: Phase, snapshot: Snapshot) -> Snapshot:
    """Initialise what the phase wants fresh, and fingerprint what it keeps frozen."""
    variables = snapshot.variables
    if phase.fresh:
        fresh = initialise(task.model, task.preprocess, task.seed)
        kinds = {}
        for kind, tree in variables.items():
            old, new = flatten(tree), flatten(fresh[kind])
            chosen = set(select(phase.fresh, old)) if kind == "params" else {p for p in old if _selected(phase, p)}
            kinds[kind] = unflatten({path: new[path] if path in chosen else leaf for path, leaf in old.items()})
        variables = kinds
    labels = label_tree(variables["params"], phase.rules)
    return replace(snapshot, variables=variables, sha256=fingerprint(frozen_part(variables, labels)))


def _selected(phase: Phase, path: str) -> bool:
    return any(matches(pattern, path) for pattern in phase.fresh)


def _exhausted(phase: Phase, snapshot: Snapshot) -> bool:
    """Tell whether the phase has waited `patience` epochs for a better one than its best."""
    best = snapshot.best
    return phase.patience is not None and best is not None and snapshot.epoch - best.epoch >= phase.patience
