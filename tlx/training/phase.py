"""One phase of a fit: made ready, run epoch by epoch, and finished."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from tlx.data.pipeline import batches
from tlx.data.share import Share
from tlx.errors import DivergedError
from tlx.objectives.objective import loss_first
from tlx.optim.memory import Cohort, install, recall
from tlx.optim.phases import Phase
from tlx.optim.rates import rates_at
from tlx.progress import listening
from tlx.records.phase import PhaseRecord
from tlx.training.cache_parts import Frozen
from tlx.training.evaluate import evaluated
from tlx.training.programs import Program
from tlx.training.resident import Resident
from tlx.training.snapshot import Best, Snapshot, memory_left
from tlx.training.state import NEVER, Totals, TrainState, all_finite
from tlx.training.task import Task, frozen_leaves, frozen_part, program_of, validation_batch
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import FROZEN, trainable_mask
from tlx.tree.partition import combine, partition
from tlx.tree.paths import Tree, flatten, map_with_path, unflatten
from tlx.tree.summary import Summary, summarize

CHECK_EVERY = 100  # steps between looks at whether the loss was finite at the last look but one: none waits


def start_of_phase(snapshot: Snapshot, labels: Tree, before: Mapping[str, Any]) -> Best:
    """Return the state in which a phase begins as its epoch 0, copied, with what the record `before` measured.

    A phase that stops early thus never leaves weights that validation finds worse than those it was given.
    """
    trainable, _ = partition(snapshot.variables["params"], trainable_mask(labels))
    params = jax.tree.map(jnp.array, _leaves(trainable))
    return Best(
        epoch=0,
        step=0,
        scores={name: value for name, value in before.items() if name.startswith("val_")},
        params=params,
        batch_stats=jax.tree.map(jnp.array, snapshot.variables.get("batch_stats", {})),
        memory=snapshot.memory.only(params).copied(),
    )


def _leaves(tree: Tree) -> dict[str, jax.Array]:
    """Return the leaves that are there, by path."""
    return {path: leaf for path, leaf in flatten(tree).items() if leaf is not None}


def _averages(trainable: Tree, kept: Mapping[str, Any] | None) -> Tree:
    """Return the moving averages to go on from, those of a checkpoint or the parameters, as copies."""
    kept = kept or {}
    return map_with_path(lambda path, leaf: None if leaf is None else jnp.array(kept.get(path, leaf)), trainable)


@dataclass(frozen=True)
class PhaseRun:
    """One phase made ready to run: labels, optimizer and step.

    `kept` holds the activations with which it works in the place of raw inputs, or says why there are none.

    `cohorts` are those of the leaves that train, and `number` counts the phases of a fit and those that it continues.
    `ready` waits for what it is about to do ("train", "validate") to be compiled.
    """

    task: Task
    phase: Phase
    labels: Tree
    summary: Summary
    frozen: Tree
    cohorts: tuple[Cohort, ...]
    number: int
    kept: Frozen
    program: Program
    resident: Resident | None
    ready: Callable[[str], None]

    @classmethod
    def of(cls, task: Task, phase: Phase, snapshot: Snapshot, kept: Frozen, ready: Callable[[str], None]) -> "PhaseRun":
        labels = task.labels[snapshot.phase]
        after, spec = (None, task.spec) if kept.train is None else (kept.train.after, kept.train.spec)
        program, cohorts = program_of(task, snapshot.phase, snapshot.variables["params"], snapshot.memory, after, spec)
        return cls(
            task=task,
            phase=phase,
            labels=labels,
            summary=summarize(snapshot.variables, labels),
            frozen=task.placement.parameters(frozen_part(snapshot.variables, labels)),  # once, not at every step
            cohorts=cohorts,
            number=task.phases_before + snapshot.phase,
            kept=kept,
            program=program,
            resident=Resident.of(program, kept),
            ready=ready,
        )

    def start(self, snapshot: Snapshot, key: jax.Array) -> TrainState:
        """Build the state of the snapshot's step; the leaves are copies, for the step donates them.

        `key` is the phase's random key, if the snapshot has none yet.
        """
        if snapshot.key is not None:
            key = jax.random.wrap_key_data(jnp.asarray(snapshot.key, jnp.uint32))
        trainable, _ = partition(snapshot.variables["params"], trainable_mask(self.labels))
        average = None if self.task.options.ema is None else _averages(trainable, snapshot.average)
        trainable = jax.tree.map(jnp.array, trainable)
        installed = install(self.program.tx.init(trainable), trainable, self.cohorts, snapshot.memory, snapshot.step)
        state = TrainState(
            step=jnp.asarray(snapshot.step, jnp.int32),
            params=trainable,
            batch_stats=jax.tree.map(jnp.array, snapshot.variables.get("batch_stats", {})),
            opt_state=jax.tree.map(jnp.array, installed),
            key=key,
            totals=self.no_totals() if snapshot.totals is None else Totals.of(snapshot.totals, self.task.sums),
            average=average,
        )
        return self.task.placement.state(state)

    def no_totals(self) -> Totals:
        """Return the sums before the first step of an epoch."""
        return Totals.zero(self.task.sums)

    def steps(self, state: TrainState, epoch: int, first: int) -> Iterator[tuple[TrainState, int]]:
        """Take the steps of an epoch from `first` on; yield the state, and how many are done, where one can stop.

        `epoch` counts over all phases and orders the examples.
        """
        task = self.task
        if self.resident is not None:
            self.ready("train")
            yield from self.resident.steps(state, self.frozen, task.feed, epoch, first)
            return
        placement, parts = task.placement, task.options.accumulate
        source, spec, feed = task.train, task.spec, replace(task.feed, share=Share.of(placement, parts))
        if self.kept.train is not None:
            source, feed = self.kept.train.of_epoch(epoch), replace(feed, augment=None)
            spec = source.spec
        step, looked_at = self.program.step, None
        stream = batches(source, spec, feed, epoch=epoch, first=first)
        for done, batch in enumerate(stream, start=first + 1):
            if done == first + 1:
                self.ready("train")
            state = step(state, self.frozen, placement.batch(batch, parts))
            if done % CHECK_EVERY == 0:
                self._check_loss(looked_at)
                looked_at = jnp.copy(state.totals.bad_step)  # the next step takes the state's own
            yield state, done

    def between(self, state: TrainState, snapshot: Snapshot, done: int, started: float) -> Snapshot:
        """Return a snapshot of the state after `done` steps of an epoch that began, or went on, at `started`.

        Raise `DivergedError` where the loss of one of these steps, or a parameter, is not finite.
        """
        step = int(state.step)
        self._check_loss(state.totals.bad_step)
        if not all_finite(state.params):
            raise self._diverged(step - 1, "a trained parameter is no longer finite")
        variables = {**snapshot.variables, "params": combine(state.params, self.frozen)}
        if "batch_stats" in variables:
            variables["batch_stats"] = state.batch_stats
        return replace(
            snapshot,
            variables=variables,
            memory=snapshot.memory.updated(recall(state.opt_state, state.params, self.cohorts, self.number)),
            step=step,
            batch=done,
            totals=state.totals.plain(),
            key=tuple(jax.random.key_data(state.key).tolist()),
            seconds=snapshot.seconds + time.monotonic() - started,  # now that the devices have done the steps
            average=None if state.average is None else _leaves(state.average),
        )

    def end_epoch(
        self, state: TrainState, snapshot: Snapshot, epoch: int, started: float
    ) -> tuple[Snapshot, dict[str, Any]]:
        """Validate, keep the best, and return the new snapshot and the epoch's record."""
        task, before = self.task, snapshot.seconds
        snapshot = self.between(state, snapshot, 0, started)
        variables, average = snapshot.variables, state.average
        tested = variables if average is None else {**variables, "params": combine(average, self.frozen)}
        record: dict[str, Any] = {"step": snapshot.step, **state.totals.means(), **self._validated(tested)}
        scores = {name: value for name, value in record.items() if name.startswith("val_")}
        record["seconds"] = round(snapshot.seconds - before, 4)
        steps = self.phase.epochs * task.epoch_steps
        record["rates"] = rates_at(snapshot.step - 1, self.phase.groups, steps, state.opt_state)
        if scores["val_loss"] is not None and not math.isfinite(scores["val_loss"]):
            raise self._diverged(snapshot.step - 1, f"the validation loss is {scores['val_loss']}")
        snapshot = replace(snapshot, epoch=epoch, totals=None, scores=scores)
        return replace(snapshot, best=self._best(snapshot, state)), record

    def measured(self, state: TrainState, snapshot: Snapshot) -> Tree:
        """Return the variables that validation measured, with copies of what the next step takes."""
        variables = snapshot.variables
        if snapshot.average is not None:
            variables = {**variables, "params": unflatten({**flatten(variables["params"]), **snapshot.average})}
        taken = {id(leaf) for leaf in jax.tree.leaves(state)}
        return jax.tree.map(lambda leaf: jnp.copy(leaf) if id(leaf) in taken else leaf, variables)

    def _validated(self, variables: Tree) -> dict[str, float | None]:
        """Return the scores of variables on the validation examples, by name; None for each where there are none."""
        task = self.task
        if task.validation is None:
            return {f"val_{name}": None for name in loss_first(task.sums)}
        self.ready("validate")
        source, spec, after = task.validation, task.spec, None
        if self.kept.validation is not None:
            source, spec, after = self.kept.validation, self.kept.validation.spec, self.kept.validation.after
        size = validation_batch(task, self.resident is not None)
        how = (size, task.feed.workers, task.placement, task.stop)
        with listening(None):  # the phase's own bar or line goes on
            scores = evaluated(task.model, variables, source, spec, task.objective, *how, after=after)
        return {f"val_{name}": value for name, value in scores.metrics.items()}

    def _best(self, snapshot: Snapshot, state: TrainState) -> Best | None:
        """Return the better of the best so far and the snapshot, copied; None for a phase without early stopping.

        Of equal scores the one with the lower loss is the better.
        """
        monitor = self.phase.monitor
        if self.phase.patience is None:
            return None
        if snapshot.best is not None:
            now, then = snapshot.scores[monitor], snapshot.best.scores[monitor]
            more = monitor.removeprefix("val_") in self.task.objective.higher_is_better
            assert now is not None  # a phase that stops early has validation examples
            assert then is not None
            if now == then and monitor != "val_loss":  # as F1 is, while nothing is found yet
                now, then, more = snapshot.scores["val_loss"], snapshot.best.scores["val_loss"], False
                assert now is not None
                assert then is not None
            if now <= then if more else now >= then:
                return snapshot.best
        return Best(
            epoch=snapshot.epoch,
            step=snapshot.step,
            scores=snapshot.scores,
            params=jax.tree.map(jnp.array, snapshot.average or _leaves(state.params)),
            batch_stats=jax.tree.map(jnp.array, state.batch_stats),
            memory=snapshot.memory.only(_leaves(state.params)).copied(),
        )

    def finish(self, snapshot: Snapshot, index: int) -> Snapshot:
        """Take the best epoch or the averages, record the phase, and return the snapshot that the next begins with."""
        best, whole = snapshot.best, self.task.placement.whole
        variables, memory = snapshot.variables, snapshot.memory
        if best is None and snapshot.average is not None:
            variables = {**variables, "params": unflatten({**flatten(variables["params"]), **snapshot.average})}
        if best is not None:
            params = unflatten({**flatten(variables["params"]), **best.params})
            variables = {**variables, "params": params}
            if "batch_stats" in variables:
                variables["batch_stats"] = best.batch_stats
            memory = memory_left(snapshot)
        variables, memory = whole(variables), whole(memory)  # which the host looks at
        left, summary = best or snapshot, self.summary
        leaves = frozen_leaves(self.task.model, variables, self.labels, self.phase.norms)
        frozen = sum(leaf.size for leaf in leaves.values())
        labels = summary.by_label() | {FROZEN: frozen}
        record = PhaseRecord(
            name=self.phase.name,
            trainable=summary.trainable,
            frozen=frozen,
            epochs=snapshot.epoch,
            steps=snapshot.step,
            seconds=round(snapshot.seconds, 3),
            stopped_early=snapshot.epoch < self.phase.epochs,
            best_epoch=best.epoch if best else None,
            labels=labels if frozen else {label: count for label, count in labels.items() if label != FROZEN},
            frozen_sha256_before=snapshot.sha256,
            frozen_sha256_after=fingerprint(unflatten(leaves)) if leaves else None,
            activations=self.kept.note,
            running_statistics=summary.frozen - frozen,
            scores=left.scores,
        )
        records, history = (*snapshot.records, record.to_dict()), snapshot.history
        return Snapshot(variables, memory, phase=index + 1, records=records, history=history)

    def _check_loss(self, bad_step: jax.Array | None) -> None:
        if bad_step is not None and int(bad_step) != NEVER:
            raise self._diverged(int(bad_step), "the loss is not finite")

    def _diverged(self, step: int, what: str) -> DivergedError:
        return DivergedError(
            f"phase {self.phase.name!r}, step {step}: {what}: lower the learning rate, clip the gradient or look at "
            "the data; the last good checkpoint is kept"
        )
