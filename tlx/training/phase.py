"""One phase of a fit: made ready, run epoch by epoch, and finished."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from tlx.data.pipeline import Feed, batches, steps_per_epoch
from tlx.data.share import Share
from tlx.data.source import Source
from tlx.devices.parallel import ONE, Placement
from tlx.errors import DivergedError
from tlx.images.preprocess import Preprocess
from tlx.models.frozen import frozen_statistics
from tlx.optim.memory import Cohort, Memory, cohorts_of, install, predict_memory, ranks_of, recall
from tlx.optim.phases import Norms, Phase
from tlx.optim.rates import rates_at
from tlx.progress import listening
from tlx.stop import Stop, never
from tlx.training.cache import Frozen
from tlx.training.evaluate import evaluate
from tlx.training.log import Log
from tlx.training.loss import Loss
from tlx.training.mix import Mix
from tlx.training.programs import Program
from tlx.training.resident import Resident
from tlx.training.snapshot import Best, Snapshot, memory_left
from tlx.training.state import NEVER, Totals, TrainState, all_finite
from tlx.tree.fingerprint import fingerprint
from tlx.tree.labels import FROZEN, label_tree, trainable_mask
from tlx.tree.partition import combine, partition
from tlx.tree.paths import Tree, flatten, map_with_path, unflatten
from tlx.tree.summary import Summary, summarize

HEAD_BATCH = 1024  # examples that a head is validated on at once
CHECK_EVERY = 100  # steps between looks at whether the loss was finite at the last look but one: none waits


@dataclass(frozen=True)
class PhaseRecord:
    """What a phase came to: parameters trained and frozen, epochs and steps run, the validation of the weights it left.

    `frozen` counts the numbers in `frozen_leaves`, batch statistics among them, and the two SHA-256 are of these leaves
    and equal; both are None where nothing is frozen. `running_statistics` counts the batch statistics that the phase
    updates, which are neither trained nor frozen. `labels` counts the parameters of each label, 'frozen' as above.
    `activations` says what was kept of the frozen stages, or why nothing was.
    """

    name: str
    trainable: int
    frozen: int
    epochs: int
    steps: int
    val_accuracy: float | None
    val_loss: float | None
    seconds: float
    stopped_early: bool
    best_epoch: int | None
    labels: dict[str, int]
    frozen_sha256_before: str | None
    frozen_sha256_after: str | None
    activations: str = ""
    running_statistics: int = 0

    def __str__(self) -> str:
        counts = f"{self.trainable:,} parameters trained, {self.frozen:,} frozen"
        scored = {"val_accuracy": self.val_accuracy, "val_loss": self.val_loss}
        scores = "".join(f", {name} {value:.4f}" for name, value in scored.items() if value is not None)
        epochs = f"{self.epochs} epoch{'s' if self.epochs != 1 else ''}"
        best = {None: "", 0: ", none better than its start"}.get(self.best_epoch, f", the best {self.best_epoch}")
        return f"{self.name}: {epochs}{best}, {counts}{scores}"


@dataclass(frozen=True)
class Task:
    """What stays the same through all phases of a fit."""

    model: Any
    train: Source
    validation: Source | None
    preprocess: Preprocess
    feed: Feed
    loss: Loss
    mix: Mix | None
    logs: Sequence[Log]
    accumulate: int = 1
    ema: float | None = None
    stop: Stop = never
    placement: Placement = ONE
    phases_before: int = 0  # of the fit that this one continues

    @property
    def seed(self) -> int:
        return self.feed.seed

    @property
    def epoch_steps(self) -> int:
        return steps_per_epoch(len(self.train), self.feed.batch_size)


def program_of(
    task: Task, phase: Phase, params: Tree, memory: Memory, after: str | None
) -> tuple[Program, tuple[Cohort, ...]]:
    """Say what the step of a phase is made of, and with which state of earlier phases its leaves go on."""
    labels = label_tree(params, phase.rules)
    cohorts = cohorts_of(memory, params, labels, phase.groups)
    how: dict[str, Any] = {"loss": task.loss, "mix": task.mix, "accumulate": task.accumulate, "ema": task.ema}
    how["placement"] = task.placement
    how |= {"stored_norms": phase.norms == "stored", "after": after}
    steps = phase.epochs * task.epoch_steps
    return Program.of(task.model, labels, phase.groups, ranks_of(cohorts), steps, **how), cohorts


def validation_batch(task: Task, resident: bool) -> int:
    """Return how many examples are validated at once."""
    return max(task.feed.batch_size, HEAD_BATCH) if resident else task.feed.batch_size


def foretold(task: Task, index: int, phase: Phase, variables: Tree, memory: Memory) -> Memory:
    """Return what will be remembered after phase `index` of a recipe, with shapes for what it will have computed."""
    params = variables["params"]
    cohorts = cohorts_of(memory, params, label_tree(params, phase.rules), phase.groups)
    return memory.updated(predict_memory(params, cohorts, task.phases_before + index))


def frozen_leaves(model: Any, variables: Tree, labels: Tree, norms: Norms) -> dict[str, Any]:
    """Return what a phase leaves alone, by path: what counts as frozen, and what is fingerprinted.

    That is: the frozen parameters, and the batch statistics of frozen modules, with `norms` "stored" of all batch
    norms.
    """
    params = {path: leaf for path, leaf in flatten(frozen_part(variables, labels)).items() if leaf is not None}
    stats, stored = variables.get("batch_stats", {}), norms == "stored"
    statistics = frozen_statistics(labels, model.base.stage_names, stats, stored_norms=stored)
    parts = {"params": params, "batch_stats": statistics}
    return {f"{kind}/{path}": leaf for kind, part in parts.items() for path, leaf in part.items()}


def frozen_sha256(model: Any, variables: Tree, labels: Tree, norms: Norms) -> str | None:
    """Fingerprint what a phase leaves alone (`frozen_leaves`), or return None where that is nothing."""
    leaves = frozen_leaves(model, variables, labels, norms)
    return fingerprint(unflatten(leaves)) if leaves else None


def frozen_part(variables: Tree, labels: Tree) -> Tree:
    """Return the frozen parameters, with None for those that train."""
    return partition(variables["params"], trainable_mask(labels))[1]


def start_of_phase(snapshot: Snapshot, labels: Tree, before: Mapping[str, Any]) -> Best:
    """Return the state in which a phase begins as its epoch 0, copied, with what the record `before` measured.

    A phase that stops early thus never leaves weights that validation finds worse than those it was given.
    """
    trainable, _ = partition(snapshot.variables["params"], trainable_mask(labels))
    params = jax.tree.map(jnp.array, _leaves(trainable))
    return Best(
        epoch=0,
        step=0,
        val_loss=before["val_loss"],
        val_accuracy=before["val_accuracy"],
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

    `kept` holds the activations with which it works in the place of pictures, or says why there are none.

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
    kept: Frozen | str
    program: Program
    resident: Resident | None
    ready: Callable[[str], None]

    @classmethod
    def of(
        cls, task: Task, phase: Phase, snapshot: Snapshot, kept: Frozen | str, ready: Callable[[str], None]
    ) -> "PhaseRun":
        labels = label_tree(snapshot.variables["params"], phase.rules)
        after = kept.train.after if isinstance(kept, Frozen) else None
        program, cohorts = program_of(task, phase, snapshot.variables["params"], snapshot.memory, after)
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
        average = None if self.task.ema is None else _averages(trainable, snapshot.average)
        trainable = jax.tree.map(jnp.array, trainable)
        installed = install(self.program.tx.init(trainable), trainable, self.cohorts, snapshot.memory, snapshot.step)
        state = TrainState(
            step=jnp.asarray(snapshot.step, jnp.int32),
            params=trainable,
            batch_stats=jax.tree.map(jnp.array, snapshot.variables.get("batch_stats", {})),
            opt_state=jax.tree.map(jnp.array, installed),
            key=key,
            totals=Totals.zero() if snapshot.totals is None else Totals.of(snapshot.totals),
            average=average,
        )
        return self.task.placement.state(state)

    def steps(self, state: TrainState, epoch: int, first: int) -> Iterator[tuple[TrainState, int]]:
        """Take the steps of an epoch from `first` on; yield the state, and how many are done, where one can stop.

        `epoch` counts over all phases and orders the examples.
        """
        task = self.task
        if self.resident is not None:
            self.ready("train")
            yield from self.resident.steps(state, self.frozen, task.feed, epoch, first)
            return
        placement, parts = task.placement, task.accumulate
        source, preprocess, feed = task.train, task.preprocess, replace(task.feed, share=Share.of(placement, parts))
        if isinstance(self.kept, Frozen):
            source, feed = self.kept.train.of_epoch(epoch), replace(feed, augment=None)
            preprocess = source.preprocess
        step, looked_at = self.program.step, None
        stream = batches(source, preprocess, feed, epoch=epoch, first=first)
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
        scores = None
        if task.validation is not None:
            self.ready("validate")
            source, preprocess, after = task.validation, task.preprocess, None
            if isinstance(self.kept, Frozen) and self.kept.validation is not None:
                source, after = self.kept.validation, self.kept.validation.after
                preprocess = source.preprocess
            size = validation_batch(task, self.resident is not None)
            how: dict[str, Any] = {"after": after, "workers": task.feed.workers, "stop": task.stop}
            how["placement"] = task.placement
            with listening(None):  # the phase's own bar or line goes on
                scores = evaluate(task.model, tested, source, preprocess, size, **how)
        record: dict[str, Any] = {
            "step": snapshot.step,
            "loss": float(state.totals.loss / state.totals.examples),
            "accuracy": float(state.totals.correct / state.totals.examples),
            "val_loss": scores.loss if scores else None,
            "val_accuracy": scores.accuracy if scores else None,
            "seconds": round(snapshot.seconds - before, 4),
            "rates": rates_at(
                snapshot.step - 1, self.phase.groups, self.phase.epochs * task.epoch_steps, state.opt_state
            ),
        }
        if record["val_loss"] is not None and not math.isfinite(record["val_loss"]):
            raise self._diverged(snapshot.step - 1, f"the validation loss is {record['val_loss']}")
        scored = {name: record[name] for name in ("val_loss", "val_accuracy")}
        snapshot = replace(snapshot, epoch=epoch, totals=None, **scored)
        return replace(snapshot, best=self._best(snapshot, state)), record

    def _best(self, snapshot: Snapshot, state: TrainState) -> Best | None:
        """Return the better of the best so far and the snapshot, copied; None for a phase without early stopping."""
        monitor = self.phase.monitor
        if self.phase.patience is None:
            return None
        if snapshot.best is not None:
            now, then = getattr(snapshot, monitor), getattr(snapshot.best, monitor)
            if now <= then if monitor == "val_accuracy" else now >= then:
                return snapshot.best
        return Best(
            epoch=snapshot.epoch,
            step=snapshot.step,
            val_loss=snapshot.val_loss,
            val_accuracy=snapshot.val_accuracy,
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
            val_accuracy=left.val_accuracy,
            val_loss=left.val_loss,
            seconds=round(snapshot.seconds, 3),
            stopped_early=snapshot.epoch < self.phase.epochs,
            best_epoch=best.epoch if best else None,
            labels=labels if frozen else {label: count for label, count in labels.items() if label != FROZEN},
            frozen_sha256_before=snapshot.sha256,
            frozen_sha256_after=fingerprint(unflatten(leaves)) if leaves else None,
            activations=self.kept if isinstance(self.kept, str) else self.kept.note,
            running_statistics=summary.frozen - frozen,
        )
        records, history = (*snapshot.records, asdict(record)), snapshot.history
        return Snapshot(variables, memory, phase=index + 1, records=records, history=history)

    def _check_loss(self, bad_step: jax.Array | None) -> None:
        if bad_step is not None and int(bad_step) != NEVER:
            raise self._diverged(int(bad_step), "the loss is not finite")

    def _diverged(self, step: int, what: str) -> DivergedError:
        return DivergedError(
            f"phase {self.phase.name!r}, step {step}: {what}: lower the learning rate, clip the gradient or look at "
            "the data; the last good checkpoint is kept"
        )
