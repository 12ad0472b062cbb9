"""The loop: train a model through the phases of a recipe."""

import functools
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jax

from tlx.data.pipeline import Feed, steps_per_epoch
from tlx.data.source import Source, check_source
from tlx.devices import hosts
from tlx.devices.compilations import compilations
from tlx.devices.parallel import Parallel
from tlx.errors import CheckpointError, ConfigError, DataError, StoppedError, check_flags
from tlx.images.augment import Augment
from tlx.images.augment_function import AugmentFunction, as_augment
from tlx.images.preprocess import Preprocess
from tlx.models.base import rematerialised
from tlx.models.registry import initialise
from tlx.optim.check import check_optimizers
from tlx.optim.groups import optimizer
from tlx.optim.memory import Memory, check_resumes
from tlx.optim.phases import Phase, Recipe, check_phases, to_plain
from tlx.progress import doing, lines
from tlx.stop import Stop, check, never
from tlx.training.accepts_pretrained import accepts_pretrained
from tlx.training.ahead import Ahead
from tlx.training.cache import ActivationCache, Cache, Part
from tlx.training.checkpoint import Checkpoints
from tlx.training.fitted import Fit, check_continues
from tlx.training.history import History
from tlx.training.log import Log, check_logs, progress_log
from tlx.training.loss import Loss
from tlx.training.loss_function import as_loss
from tlx.training.mix import Mix
from tlx.training.phase import PhaseRecord, PhaseRun, Task, foretold, frozen_sha256, start_of_phase
from tlx.training.snapshot import Snapshot
from tlx.training.state import Totals, TrainState
from tlx.tree._cast import to_jax_types
from tlx.tree.labels import label_tree
from tlx.tree.paths import Tree, flatten, map_with_path, matches, select


@functools.partial(accepts_pretrained, whole=Fit)
def fit(
    model: Any,
    variables: Tree | Fit,
    recipe: Recipe,
    train: Source,
    validation: Source | None,
    preprocess: Preprocess,
    *,
    batch_size: int = 32,
    seed: int = 0,
    loss: Loss | Callable[..., Any] | None = None,
    augment: Augment | Callable[..., Any] | None = None,
    mix: Mix | None = None,
    balanced: bool = False,
    workers: int | None = None,
    cache: Cache | None = None,
    accumulate: int = 1,
    remat: bool = False,
    ema: float | None = None,
    parallel: Parallel | None = None,
    logs: Sequence[Log] = (),
    progress: bool = False,
    checkpoints: Checkpoints | None = None,
    stop: Stop = never,
) -> Fit:
    """Train a model through the phases of a recipe and return its variables and records of phases and epochs.

    `model` is a Linen module of a staged base and a head (`tlx.models.Classifier`), `variables` its whole tree. A
    `tlx.Pretrained` can take the place of `model`, `variables` and `preprocess`: `fit(pretrained, recipe, train,
    validation)`, or `data` in place of `train, validation`. So can what `fit` returned: training then goes on with its
    weights, its optimizer's state and its count of epochs, as if the phases of both recipes had been those of one; only
    early stopping forgets what was best.

    Each of `logs` (`tlx.Log`) is told of phases, steps and epochs; what it raises ends the fit. With `progress`, a bar
    for each phase goes to standard error. The optimizer's state is kept by path from phase to phase. With
    `checkpoints`, all of a run is saved after a step where
    one is due, and at the end of each phase, and training goes on from the last one that is there, to the same bits as
    if it had never ended. `stop` is asked after every step; when it says so, the run is saved, and ends with
    `StoppedError` (`tlx.StopOnSignals`). `loss` is a `tlx.Loss`, or a function of logits (B, C) and labels (B,) that
    returns losses (B,) (`tlx.training.LossFunction`). `augment` (`tlx.Augment`, or a function of an image and a numpy
    Generator: `tlx.images.AugmentFunction`) varies training pictures and `mix` mixes them in pairs; `balanced`
    draws from all classes equally often; `workers` threads prepare batches (`tlx.data.Feed`). Neither their number nor
    a resume changes any picture. What stages that are frozen make of the pictures is computed once for all epochs and
    kept, as `cache` says (`Cache`).

    To spare memory, `accumulate` takes a batch in so many parts (`tlx.training.make_train_step`), which must divide it,
    and `remat` keeps only what goes from stage to stage for the gradient. With `ema`, 0.999 say, each phase keeps a
    moving average of what it trains, is validated on it and ends with it. The model computes in the type it was
    built or loaded with (`tlx.load`, `dtype`), on all devices that JAX has, or as `parallel` says (`Parallel`).

    Raise `ConfigError` or `DataError` before the first step for a recipe or data that do not fit the model or each
    other, `CheckpointError` where checkpoints are of another model or all damaged, `StorageError` where one cannot be
    written, and `DivergedError` when the loss or a trained parameter is no longer finite; the last good checkpoint
    stays.

    >>> import tlx
    >>> base, data = tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2)
    >>> start = base.with_head(data.classes)
    >>> done = fit(start, tlx.recipes.probe(base.stages, epochs=1), data.train, data.validation)
    >>> done.phases[0].frozen_sha256_before == done.phases[0].frozen_sha256_after
    True
    >>> more = fit(done, tlx.recipes.further(base.stages, epochs=2), data.train, data.validation)
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
    task, kept = make_task(
        model,
        variables,
        recipe,
        train,
        validation,
        preprocess,
        batch_size=batch_size,
        seed=seed,
        loss=loss,
        augment=augment,
        mix=mix,
        balanced=balanced,
        workers=workers,
        cache=cache,
        accumulate=accumulate,
        remat=remat,
        ema=ema,
        parallel=parallel,
        logs=logs,
        stop=stop,
    )
    begun, epochs_before = Snapshot(variables), 0
    if earlier is not None:
        task = replace(task, phases_before=len(earlier.phases))
        begun = Snapshot(variables, earlier.memory, history=tuple(earlier.history))
        epochs_before = sum(phase.epochs for phase in earlier.phases)
    ahead = Ahead(task, recipe, kept)
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
    phases = tuple(PhaseRecord(**record) for record in snapshot.records)
    return Fit(
        variables=snapshot.variables,
        phases=phases if earlier is None else (*earlier.phases, *phases),
        history=History(snapshot.history),
        memory=snapshot.memory,
        model=model,
        preprocess=preprocess,
    )


def make_task(
    model: Any,
    variables: Tree,
    recipe: Recipe,
    train: Source,
    validation: Source | None,
    preprocess: Preprocess,
    *,
    batch_size: int = 32,
    seed: int = 0,
    loss: Loss | Callable[..., Any] | None = None,
    augment: Augment | Callable[..., Any] | None = None,
    mix: Mix | None = None,
    balanced: bool = False,
    workers: int | None = None,
    cache: Cache | None = None,
    accumulate: int = 1,
    remat: bool = False,
    ema: float | None = None,
    parallel: Parallel | None = None,
    logs: Sequence[Log] = (),
    stop: Stop = never,
) -> tuple[Task, ActivationCache]:
    """Put together what `fit` was given, and the cache of its activations; raise as it does before the first step."""
    check_phases(recipe)
    check_flags(balanced=balanced, remat=remat)
    check_source(train, "train")
    if validation is not None:
        check_source(validation, "validation")
    validation = validation if validation is not None and len(validation) else None
    varied, cache = as_augment(augment), cache or Cache()
    feed = Feed(batch_size, seed, shuffle=True, balanced=balanced, augment=varied, pad=True, workers=workers)
    if varied is not None:
        varied.check(preprocess)
    if isinstance(varied, AugmentFunction) and cache.views and cache.where == "disk":
        raise ConfigError("cache: views of a function of one's own cannot be known again on a disk: use 'memory'")
    check_economy(batch_size, accumulate, ema)
    check_logs(logs)
    model = rematerialised(model) if remat else model
    stop, placement = _agreed(stop), (parallel or Parallel()).placement()
    task = Task(model, train, validation, preprocess, feed, as_loss(loss), mix, logs, accumulate, ema, stop, placement)
    check_recipe(recipe, variables, train, validation, batch_size)
    _check_outputs(task, variables)
    return task, _activation_cache(task, recipe, cache)


def _agreed(stop: Stop) -> Stop:
    """Ask on behalf of all processes that train together."""
    poll = hosts.Poll()
    return lambda: poll(stop())


def check_economy(batch_size: int, accumulate: int, ema: float | None) -> None:
    """Raise `ConfigError` for parts that do not divide a batch, and for a decay that is not between 0 and 1."""
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1 or batch_size % accumulate:
        raise ConfigError(f"accumulate: {accumulate!r} does not divide a batch of {batch_size}; give a divisor of it")
    if ema is not None and not 0 < ema < 1:
        raise ConfigError(f"ema: {ema!r} is no decay; give a number between 0 and 1 such as 0.999, or None")


def check_recipe(recipe: Recipe, variables: Tree, train: Source, validation: Source | None, batch_size: int) -> None:
    """Raise `ConfigError` or `DataError` for what would stop a phase of the recipe as it begins.

    That is: no training examples, early stopping without validation examples, rules, groups and patterns that do not
    fit the parameters, a warm-up longer than its phase, an optimizer that cannot train them.
    """
    steps = steps_per_epoch(len(train), batch_size)
    if not steps:
        raise DataError("no examples to train on")
    labelled = []
    for phase in recipe:
        if phase.patience is not None and not validation:
            raise ConfigError(
                f"phase {phase.name!r} stops early on validation, and there is no validation data: keep some or set "
                "patience to None"
            )
        select(phase.fresh, flatten(variables["params"]))  # each must select something
        labels = label_tree(variables["params"], phase.rules)
        optimizer(labels, phase.groups, phase.epochs * steps)
        labelled.append((labels, phase.groups))
    check_optimizers(variables["params"], labelled)


def _check_outputs(task: Task, variables: Tree) -> None:
    """Raise `ConfigError` where the data have more classes than the model, or the loss not a weight for each."""
    spec = task.preprocess
    picture = jax.ShapeDtypeStruct((1, spec.height, spec.width, spec.channels), "float32")
    outputs = jax.eval_shape(task.model.apply, variables, picture).shape[-1]
    if len(task.train.classes) > outputs:
        raise ConfigError(
            f"the data have {len(task.train.classes)} classes and the model {outputs}: give it a new head"
        )
    task.loss.check(outputs)


def _activation_cache(task: Task, recipe: Recipe, cache: Cache) -> ActivationCache:
    augment = task.feed.augment
    train = Part(task.train, task.preprocess, augment, task.seed, cache.views if augment else 1)
    validation = None if task.validation is None else Part(task.validation, task.preprocess)
    return ActivationCache(task.model, recipe, cache, train, validation, stop=task.stop, placement=task.placement)


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
    cache: ActivationCache,
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
    if snapshot.epoch < phase.epochs and not _exhausted(phase, snapshot):
        ahead.prepare(index, snapshot.variables, snapshot.memory)
    kept = "mixing pictures" if task.mix else cache.of_phase(index, snapshot.variables, task.feed.workers)
    run = PhaseRun.of(task, phase, snapshot, kept, functools.partial(ahead.wait, index))
    if index + 1 < len(recipe):
        doing(f"preparing phase {recipe[index + 1].name!r}")
        memory = foretold(task, index, phase, snapshot.variables, snapshot.memory)
        ahead.prepare(index + 1, snapshot.variables, _without(recipe[index + 1].fresh, memory))
    snapshot = replace(snapshot, seconds=snapshot.seconds + time.monotonic() - started)
    number = task.phases_before + index
    state = run.start(snapshot, jax.random.fold_in(jax.random.key(task.seed), number))
    for log in task.logs:
        log.phase(phase.name, phase.epochs, phase.epochs * task.epoch_steps, snapshot.step)
    while snapshot.epoch < phase.epochs and not _exhausted(phase, snapshot):
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
            log.epoch(dict(record))
        if checkpoints and (checkpoints.due(0) or epoch == phase.epochs or _exhausted(phase, snapshot)):
            _save(checkpoints, snapshot, state, task)
        state = state.replace(totals=task.placement.replicated(Totals.zero()))
    return run.finish(snapshot, index)


def _save(checkpoints: Checkpoints, snapshot: Snapshot, state: TrainState, task: Task) -> None:
    """Begin to save a snapshot, after what the logs noted up to it."""
    for log in task.logs:
        log.sync()
    checkpoints.save(snapshot, donated=state)


def _begin(task: Task, phase: Phase, snapshot: Snapshot) -> Snapshot:
    """Initialise what the phase wants fresh, fingerprint what it keeps frozen, and note what it has to better."""
    if phase.fresh:
        snapshot = _refresh(task, phase.fresh, snapshot)
    labels = label_tree(snapshot.variables["params"], phase.rules)
    before = snapshot.records[-1] if snapshot.records and phase.patience is not None and not phase.fresh else None
    best = None if before is None or before["val_loss"] is None else start_of_phase(snapshot, labels, before)
    sha256 = frozen_sha256(task.model, snapshot.variables, labels, phase.norms)
    return replace(snapshot, sha256=sha256, best=best, plan=_plan(task, phase))


def _plan(task: Task, phase: Phase) -> str:
    """Say what a snapshot within a phase counts on: the phase, and how many steps of how many examples an epoch has."""
    return json.dumps([to_plain(phase), task.epoch_steps, task.feed.batch_size])


def _replan(task: Task, phase: Phase, snapshot: Snapshot) -> Snapshot:
    """Go on within a phase that was changed: its epoch begins anew, and what was best so far does not count."""
    if snapshot.batch and snapshot.epoch >= phase.epochs:
        raise CheckpointError(
            f"phase {phase.name!r}: the checkpoint is of epoch {snapshot.epoch + 1}, and now it has {phase.epochs}: "
            "give it more, or name another directory"
        )
    labels = label_tree(snapshot.variables["params"], phase.rules)
    number = task.phases_before + snapshot.phase
    check_resumes(snapshot.memory, snapshot.variables["params"], labels, phase.groups, number)
    sha256 = frozen_sha256(task.model, snapshot.variables, labels, phase.norms)
    return replace(snapshot, batch=0, totals=None, best=None, sha256=sha256, plan=_plan(task, phase))


def _refresh(task: Task, patterns: tuple[str, ...], snapshot: Snapshot) -> Snapshot:
    """Initialise the leaves that the patterns select, parameters and batch statistics, and forget their memory."""
    spec = task.preprocess
    fresh = initialise(task.model, (spec.height, spec.width, spec.channels), task.seed)

    def selected(path: str) -> bool:
        return any(matches(pattern, path) for pattern in patterns)

    variables = {
        kind: map_with_path(lambda path, old, new: new if selected(path) else old, tree, fresh[kind])
        for kind, tree in snapshot.variables.items()
    }
    return replace(snapshot, variables=variables, memory=_without(patterns, snapshot.memory))


def _without(patterns: tuple[str, ...], memory: Memory) -> Memory:
    return memory.without(lambda path: any(matches(pattern, path) for pattern in patterns))


def _exhausted(phase: Phase, snapshot: Snapshot) -> bool:
    """Tell whether the phase has waited `patience` epochs for a better one than its best."""
    best = snapshot.best
    return phase.patience is not None and best is not None and snapshot.epoch - best.epoch >= phase.patience
