"""The loop: train a model through the phases of a recipe."""

import copy
import functools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jax

from tlx.data.source import Source
from tlx.data.spec import Data
from tlx.devices import hosts
from tlx.devices.compilations import compilations
from tlx.errors import CheckpointError, StoppedError, check_flags
from tlx.logs import Log
from tlx.logs.progress import progress_log
from tlx.models.registry import initialise
from tlx.models.staged import StagedModel
from tlx.optim.memory import Memory, check_resumes
from tlx.optim.phases import Phase, Recipe, check_phases, to_plain
from tlx.progress import doing, lines
from tlx.records.phase import PhaseRecord
from tlx.stop import Stop, check, never
from tlx.training.accepts_pretrained import accepts_pretrained
from tlx.training.activations import input_shapes
from tlx.training.ahead import Ahead
from tlx.training.cache import StageActivations
from tlx.training.cache_parts import Frozen
from tlx.training.callback import Callback, EpochState, any_stops, names_of
from tlx.training.checkpoint import Checkpoints
from tlx.training.fitted import Fit, check_continues
from tlx.training.history import History
from tlx.training.options import TrainOptions
from tlx.training.phase import PhaseRun, start_of_phase
from tlx.training.prepare import activation_cache, make_task
from tlx.training.shapes import MIXING
from tlx.training.snapshot import Snapshot
from tlx.training.state import TrainState
from tlx.training.task import Task, frozen_sha256, memory_after
from tlx.tree._cast import to_jax_types
from tlx.tree.paths import Tree, flatten, map_with_path, matches

Examples = Data | Source | tuple[Source, Source | None]
"""What is trained on: the parts of a `tlx.Data`, a source alone, or two, the second one for validation."""


@functools.partial(accepts_pretrained, whole=Fit)
def fit(
    model: StagedModel,
    variables: Tree | Fit,
    recipe: Recipe,
    data: Examples,
    options: TrainOptions | None = None,
    *,
    callbacks: Sequence[Log | Callback] = (),
    progress: bool = False,
    checkpoints: Checkpoints | None = None,
    stop: Stop = never,
) -> Fit:
    """Train a model through the phases of a recipe and return its variables and records of phases and epochs.

    A `tlx.Pretrained` can take the place of `model` and `variables`: `fit(pretrained, recipe, data)`. So can what `fit`
    returned: training then goes on with its weights, its optimizer's state and its count of epochs, as if the phases of
    both recipes had been those of one; only early stopping forgets what was best. What stages that are frozen make of
    the inputs is computed once for all epochs and kept (`tlx.ActivationCache`).

    Args:
        model: a Linen module of a staged base and a head (`tlx.models.Classifier`).
        variables: its whole tree.
        recipe: the phases (`tlx.recipes`).
        data: a `tlx.Data`, of which training and validation examples are used; a source alone (`tlx.data.Source`); or a
            pair of sources for training and validation.
        options: what else to train by (`tlx.TrainOptions`); a model in pieces needs `preprocess` there.
        callbacks: logs, told of phases, steps and epochs (`tlx.Log`, `tlx.logs`), and callbacks, asked after each epoch
            whether its phase ends (`tlx.Callback`); what one raises ends the fit.
        progress: whether a bar for each phase goes to standard error.
        checkpoints: where all of a run is saved after a step where one is due, and at the end of each phase; training
            goes on from the last one that is there, to the same bits as if it had never ended.
        stop: asked after every step; when it says so, the run is saved and ends (`tlx.StopOnSignals`).

    Returns:
        The fitted model: variables, records, and the optimizer's state by path.

    Raises:
        ConfigError, DataError: before the first step, for a recipe or data that do not fit the model or each other.
        CheckpointError: where checkpoints are of another model or all damaged.
        StorageError: where a checkpoint cannot be written.
        DivergedError: when the loss or a trained parameter is no longer finite; the last good checkpoint stays.
        StoppedError: once `stop` says so.

    >>> import tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
    >>> start = base.with_head(data.classes)
    >>> done = fit(start, tlx.recipes.probe(base.stages, epochs=1), data)
    >>> done.phases[0].frozen_sha256_before == done.phases[0].frozen_sha256_after
    True
    >>> more = fit(done, tlx.recipes.further(base.stages, epochs=2), data)
    >>> [(record["phase"], record["epoch"]) for record in more.history]
    [('head', 1), ('all', 2), ('all', 3)]
    """
    check_flags(progress=progress)
    earlier = variables if isinstance(variables, Fit) else None
    check_phases(recipe)
    if earlier is not None:
        check_continues(earlier, recipe[0])
        variables = earlier.variables
    variables = to_jax_types(variables)
    task = make_task(model, variables, recipe, data, options, callbacks=callbacks, stop=stop)
    return fit_task(task, model, variables, earlier, progress=progress, checkpoints=checkpoints)


def fit_task(
    task: Task,
    model: StagedModel,
    variables: Tree,
    earlier: Fit | None = None,
    *,
    progress: bool = False,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Do as `fit`, of what `make_task` put together."""
    hosts.check_alike({"callbacks": names_of(task.callbacks)})
    recipe, kept = task.recipe, activation_cache(task)
    begun, epochs_before = Snapshot(variables), 0
    if earlier is not None:
        task = replace(task, phases_before=len(earlier.phases))
        begun = Snapshot(variables, earlier.memory, history=tuple(earlier.history))
        epochs_before = sum(phase.epochs for phase in earlier.phases)
    ahead = Ahead(task, kept)
    snapshot = (checkpoints.latest() if checkpoints else None) or begun
    _check_same(snapshot, variables, len(recipe))
    try:
        with ExitStack() as stack, hosts.lost_hosts():
            if progress and hosts.is_first():
                stack.enter_context(lines())
                stack.callback((bar := progress_log("fit")).close)
                task = replace(task, logs=(*task.logs, bar))
            for index in range(snapshot.phase, len(recipe)):
                before = epochs_before + sum(record["epochs"] for record in snapshot.records)
                snapshot = _run_phase(task, index, recipe, snapshot, before, checkpoints, kept, ahead)
    finally:
        ahead.close()
        if checkpoints:
            checkpoints.wait()
    phases = tuple(map(PhaseRecord.from_dict, snapshot.records))
    return Fit(
        variables=snapshot.variables,
        phases=phases if earlier is None else (*earlier.phases, *phases),
        history=History(snapshot.history),
        memory=snapshot.memory,
        model=model,
        preprocess=task.spec,
        objective=task.objective,
    )


def _check_same(saved: Snapshot, given: Tree, phases: int) -> None:
    """Raise `CheckpointError` where a checkpoint is of other paths, shapes or types, or of a phase that is no more."""
    if saved.phase >= phases:
        raise CheckpointError(
            f"the checkpoints are of phase {saved.phase + 1} and the recipe has {phases}: name another directory"
        )
    then, now = (
        {path: f"{leaf.shape} {leaf.dtype}" for path, leaf in flatten(tree).items()}
        for tree in (saved.variables, given)
    )
    differ = [path for path in sorted(then.keys() | now.keys()) if then.get(path) != now.get(path)]
    if differ:
        changes = "; ".join(f"{path}: {then.get(path)} -> {now.get(path)}" for path in differ[:5])
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise CheckpointError(f"the checkpoints are of another model ({changes}{more}): name another directory")


def _run_phase(
    task: Task,
    index: int,
    recipe: Recipe,
    snapshot: Snapshot,
    epochs_before: int,
    checkpoints: Checkpoints | None,
    cache: StageActivations,
    ahead: Ahead,
) -> Snapshot:
    """Run a phase, or what is left of it, and return the snapshot with which the next one begins."""
    phase = recipe[index]
    doing(f"preparing phase {phase.name!r}")
    if snapshot.plan is None:
        snapshot = _begin(task, phase, snapshot)
    elif snapshot.plan != _plan(task, phase):
        snapshot = _replan(task, phase, snapshot)
    started = time.monotonic()
    if not _has_ended(phase, snapshot):
        ahead.prepare(index, snapshot.variables, snapshot.memory)
    mixes = task.options.mix
    kept = Frozen(MIXING) if mixes else cache.of_phase(index, snapshot.variables, task.feed.workers)
    run = PhaseRun.of(task, phase, snapshot, kept, functools.partial(ahead.wait, index))
    if index + 1 < len(recipe):
        doing(f"preparing phase {recipe[index + 1].name!r}")
        memory = memory_after(task, index, snapshot.variables, snapshot.memory)
        ahead.prepare(index + 1, snapshot.variables, _without(recipe[index + 1].fresh, memory))
    snapshot = replace(snapshot, seconds=snapshot.seconds + time.monotonic() - started)
    number = task.phases_before + index
    state = run.start(snapshot, jax.random.fold_in(jax.random.key(task.seed), number))
    for log in task.logs:
        log.phase(phase.name, phase.epochs, phase.epochs * task.epoch_steps, snapshot.step)
    while not _has_ended(phase, snapshot):
        started, compiled = time.monotonic(), compilations()
        epoch, done = snapshot.epoch + 1, snapshot.batch
        steps = run.steps(state, epochs_before + epoch, done)
        try:
            for state, now in steps:
                for log in task.logs:
                    log.steps(now - done)
                taken, done = now - done, now
                check(task.stop)
                if checkpoints and checkpoints.due(taken) and done < task.epoch_steps:  # else when it is validated
                    _save(checkpoints, run.between(state, snapshot, done, started), state, task)
            ended, record = run.end_epoch(state, snapshot, epoch, started)
        except StoppedError:
            if checkpoints:
                _save(checkpoints, run.between(state, snapshot, done, started), state, task)
                checkpoints.wait()
            raise
        place = {"phase": phase.name, "phase_index": number, "epoch": epochs_before + epoch}
        record = {**place, **record}
        record["compiled"] = compilations() - compiled
        snapshot = replace(ended, history=(*ended.history, record))
        for log in task.logs:
            log.epoch(copy.deepcopy(record))
        snapshot = replace(snapshot, stopped=_is_stopped(task, run, state, snapshot, record))
        if checkpoints and (checkpoints.due(0) or _has_ended(phase, snapshot)):
            _save(checkpoints, snapshot, state, task)
        state = state.replace(totals=task.placement.replicated(run.no_totals()))
    return run.finish(snapshot, index)


def _is_stopped(task: Task, run: PhaseRun, state: TrainState, snapshot: Snapshot, record: dict[str, Any]) -> bool:
    """Ask the callbacks, those of the first process, whether the phase ends with the epoch that ended."""
    if not task.callbacks:
        return False
    read = functools.cache(lambda: run.measured(state, snapshot))
    if hosts.count() > 1:  # whatever the first one reads: each process has a part of it
        whole = task.placement.whole(read())
        read = functools.cache(lambda: whole)
    phase = run.phase
    reads: list[Callable[[], Tree]] = [read]
    seen = EpochState(phase.name, snapshot.epoch, phase.epochs, snapshot.step, snapshot.history, reads)
    try:
        return hosts.broadcast_from_first(lambda: any_stops(task.callbacks, record, seen))
    finally:
        reads.clear()  # the next step takes the arrays


def _save(checkpoints: Checkpoints, snapshot: Snapshot, state: TrainState, task: Task) -> None:
    """Begin to save a snapshot, after what the logs noted up to it."""
    for log in task.logs:
        log.sync()
    checkpoints.save(snapshot, donated=state)


def _begin(task: Task, phase: Phase, snapshot: Snapshot) -> Snapshot:
    """Initialise what the phase wants fresh, fingerprint what it keeps frozen, and note what it has to better."""
    if phase.fresh:
        snapshot = _refresh(task, phase.fresh, snapshot)
    labels = task.labels[snapshot.phase]
    before = snapshot.records[-1] if snapshot.records and phase.patience is not None and not phase.fresh else None
    best = None if before is None or before["val_loss"] is None else start_of_phase(snapshot, labels, before)
    sha256 = frozen_sha256(task.model, snapshot.variables, labels, phase.norms)
    return replace(snapshot, sha256=sha256, best=best, plan=_plan(task, phase))


def _plan(task: Task, phase: Phase) -> str:
    """Say what a snapshot within a phase counts on: the phase, and how many steps of how many examples an epoch has."""
    return json.dumps([to_plain(phase), task.epoch_steps, task.feed.batch_size])


def _replan(task: Task, phase: Phase, snapshot: Snapshot) -> Snapshot:
    """Go on within a phase that was changed: its epoch begins anew, with nothing best or decided so far."""
    if snapshot.batch and snapshot.epoch >= phase.epochs:
        raise CheckpointError(
            f"phase {phase.name!r}: the checkpoint is of epoch {snapshot.epoch + 1}, and now it has {phase.epochs}: "
            "give it more, or name another directory"
        )
    labels = task.labels[snapshot.phase]
    number = task.phases_before + snapshot.phase
    check_resumes(snapshot.memory, snapshot.variables["params"], labels, phase.groups, number)
    sha256 = frozen_sha256(task.model, snapshot.variables, labels, phase.norms)
    return replace(snapshot, batch=0, totals=None, best=None, stopped=False, sha256=sha256, plan=_plan(task, phase))


def _refresh(task: Task, patterns: tuple[str, ...], snapshot: Snapshot) -> Snapshot:
    """Initialise the leaves that the patterns select, parameters and batch statistics, and forget their memory."""
    fresh = initialise(task.model, input_shapes(task.spec, task.example["input"]), task.seed)

    def selected(path: str) -> bool:
        return any(matches(pattern, path) for pattern in patterns)

    variables = {
        kind: map_with_path(lambda path, old, new: new if selected(path) else old, tree, fresh[kind])
        for kind, tree in snapshot.variables.items()
    }
    return replace(snapshot, variables=variables, memory=_without(patterns, snapshot.memory))


def _without(patterns: tuple[str, ...], memory: Memory) -> Memory:
    return memory.without(lambda path: any(matches(pattern, path) for pattern in patterns))


def _has_ended(phase: Phase, snapshot: Snapshot) -> bool:
    """Tell whether a phase has had all its epochs, or stopped before."""
    return snapshot.epoch >= phase.epochs or snapshot.stopped or _exhausted(phase, snapshot)


def _exhausted(phase: Phase, snapshot: Snapshot) -> bool:
    """Tell whether the phase has waited `patience` epochs for a better one than its best."""
    best = snapshot.best
    return phase.patience is not None and best is not None and snapshot.epoch - best.epoch >= phase.patience
