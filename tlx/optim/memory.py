"""Memory: the optimizer's state kept by path, so that it outlives a phase and its labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.errors import CheckpointError
from tlx.optim.groups import Group, GroupsState, cohort_names, only
from tlx.optim.slots import Slot, belongs_to_leaves, map_slots
from tlx.tree._cast import cast
from tlx.tree.labels import FROZEN
from tlx.tree.paths import Tree, flatten, quote


class Memory(flax.struct.PyTreeNode):
    """The state of optimizers, of every leaf that ever trained.

    `leaves` has what belongs to a leaf, by its path and the slot's name (`tlx.optim.slots.Slot`). What belongs to no
    single leaf (counts of steps, estimates over all of them) is in `shared`, by the cohort of leaves that trained with
    it and the slot; `cohorts` tells each leaf's, and `sizes` how many leaves it had. Names of cohorts are unique over
    all phases of a fit: `recall` puts the phase's number in front. `shapes` are those of the leaves themselves.
    """

    leaves: dict[str, dict[str, Any]] = flax.struct.field(default_factory=dict)
    shared: dict[str, dict[str, Any]] = flax.struct.field(default_factory=dict)
    cohorts: dict[str, str] = flax.struct.field(default_factory=dict, pytree_node=False)
    sizes: dict[str, int] = flax.struct.field(default_factory=dict, pytree_node=False)
    shapes: dict[str, tuple[int, ...]] = flax.struct.field(default_factory=dict, pytree_node=False)

    def only(self, paths: Iterable[str]) -> "Memory":
        """Return what is remembered of some paths."""
        kept = [path for path in paths if path in self.cohorts]
        cohorts = {path: self.cohorts[path] for path in kept}
        used = set(cohorts.values())
        return Memory(
            leaves={path: self.leaves[path] for path in kept},
            shared={cohort: slots for cohort, slots in self.shared.items() if cohort in used},
            cohorts=cohorts,
            sizes={cohort: size for cohort, size in self.sizes.items() if cohort in used},
            shapes={path: self.shapes[path] for path in kept},
        )

    def without(self, forgotten: Callable[[str], bool]) -> "Memory":
        """Return what is remembered of the paths for which `forgotten(path)` is false."""
        return self.only([path for path in self.cohorts if not forgotten(path)])

    def updated(self, later: "Memory") -> "Memory":
        """Return what is remembered when the paths of another memory count as they are there."""
        kept = self.without(later.cohorts.__contains__)
        return Memory(
            leaves={**kept.leaves, **later.leaves},
            shared={**kept.shared, **later.shared},
            cohorts={**kept.cohorts, **later.cohorts},
            sizes={**kept.sizes, **later.sizes},
            shapes={**kept.shapes, **later.shapes},
        )

    def of_phase(self, phase: int) -> "Memory":
        """Return what is remembered of the leaves that last trained in a phase, by the number that `recall` took."""
        return self.only([path for path, cohort in self.cohorts.items() if cohort.startswith(f"{phase}:")])

    def copied(self) -> "Memory":
        """Copy the arrays: a step takes the state that it is given."""
        copy: Memory = jax.tree.map(jnp.array, self)
        return copy


@dataclass(frozen=True)
class Cohort:
    """Leaves of one label that share an optimizer's state.

    `origin` is the cohort of an earlier phase in the memory whose state they go on with, or None where they begin anew.
    """

    name: str
    paths: tuple[str, ...]
    tx: optax.GradientTransformation
    origin: str | None


def cohorts_of(memory: Memory, params: Tree, labels: Tree, groups: Mapping[str, Group]) -> tuple[Cohort, ...]:
    """Divide the leaves that train under `labels` into cohorts, and say which state each goes on with.

    Leaves of one label share what belongs to no single leaf exactly if they did so the last time they trained: a leaf
    that thaws into a running group has step counts of its own, and no average or estimate of others' is mixed into
    those of leaves with another past. (Ages would not do: two cohorts that trained for equally long, each with an
    estimate of its own, are not one.) A leaf begins anew that never trained, or trained with another kind of optimizer:
    one with other slots, or slots of other shapes.

    Args:
        memory: the state of earlier phases, or of this one where it is resumed.
        params: the parameters, or their shapes.
        labels: their labels.
        groups: a group for each label but 'frozen'.

    Returns:
        The cohorts in the order of their names, which do not depend on the memory's: the same for a phase that is
        resumed as for one that begins.
    """
    txs = {label: group.transform() for label, group in groups.items()}
    pasts: dict[str, str | None] = {}  # by path
    candidates: dict[tuple[str, str | None], list[str]] = {}
    trained = {path: label for path, label in sorted(flatten(labels).items()) if label not in (None, FROZEN)}
    for path, label in trained.items():
        candidates.setdefault((label, memory.cohorts.get(path)), []).append(path)
    for (label, past), paths in candidates.items():
        fitting = set() if past is None else _fitting(memory, txs[label], only(params, paths), paths, past)
        pasts |= {path: past if path in fitting else None for path in paths}
    ranks: dict[str, int] = {}
    seen: dict[str, list[str | None]] = {}  # by label, in the order of the first path of each
    for path, label in trained.items():
        known = seen.setdefault(label, [])
        if pasts[path] not in known:
            known.append(pasts[path])
        ranks[path] = known.index(pasts[path])
    return tuple(
        Cohort(name, tuple(paths), txs[label], pasts[paths[0]])
        for (name, label), paths in cohort_names(labels, ranks).items()
    )


def ranks_of(cohorts: Sequence[Cohort]) -> dict[str, int]:
    """Return each path's cohort within its label as a number, as `optimizer` takes it."""
    return {path: int(cohort.name.rpartition("@")[2]) for cohort in cohorts for path in cohort.paths}


def _fitting(memory: Memory, tx: optax.GradientTransformation, params: Tree, paths: list[str], past: str) -> set[str]:
    """Return those of a cohort's paths whose remembered state is one that a transformation keeps."""
    state = jax.eval_shape(tx.init, params)
    leaves: dict[str, dict[str, tuple[int, ...]]] = {path: {} for path in paths}
    shared: dict[str, tuple[int, ...]] = {}

    def note(slot: Slot, leaf: Any) -> None:
        if not slot.clock:
            (shared if slot.path is None else leaves[slot.path])[slot.name] = _data(leaf).shape

    map_slots(note, tx, params, state)
    if _shapes(memory.shared[past], shared) != shared:
        return set()
    if shared and not belongs_to_leaves(tx, params, state) and len(paths) != memory.sizes[past]:
        return set()  # nothing tells which part of it would be these leaves'
    flat = flatten(params)
    return {
        path
        for path in paths
        if _shapes(memory.leaves[path]) == leaves[path] and memory.shapes[path] == tuple(flat[path].shape)
    }


def _shapes(slots: Mapping[str, Any], of: Iterable[str] | None = None) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(slots[name]) for name in (slots if of is None else of) if name in slots}


def check_resumes(memory: Memory, params: Tree, labels: Tree, groups: Mapping[str, Group], phase: int) -> None:
    """Raise `CheckpointError` where leaves that trained in a phase would go on in it with another kind of optimizer.

    Between phases they may: there the state begins anew. `phase` is the number that `recall` took.
    """
    trained = memory.of_phase(phase)
    cohorts = cohorts_of(trained, params, labels, groups)
    lost = [path for cohort in cohorts if cohort.origin is None for path in cohort.paths if path in trained.cohorts]
    if lost:
        raise CheckpointError(
            f"the checkpoint's state of the optimizer is of another kind of optimizer for {quote(lost)}: go on with "
            "the one that the phase was begun with, or name another directory"
        )


def install(opt_state: GroupsState, params: Tree, cohorts: Sequence[Cohort], memory: Memory, step: int = 0) -> Any:
    """Write what is remembered into the fresh state of an `optimizer` of these cohorts; the inverse of `recall`.

    Both directions share arrays with the state: a step that donates its state takes them from the memory too.

    Args:
        opt_state: what the optimizer's `init(params)` returned.
        params: the parameters that train, with None for others.
        cohorts: their cohorts (`cohorts_of`), of whose ranks the optimizer was built.
        memory: what was remembered.
        step: the step within the phase. Schedules go on from it, or from the phase's first where it is 0.

    Raises:
        CheckpointError: where a remembered number does not fit the type that the state now has.
    """

    def remembered(cohort: Cohort) -> optax.OptState:
        state, origin = opt_state.cohorts[cohort.name], cohort.origin
        if origin is None:
            return state
        shared = memory.shared[origin]

        def recollect(slot: Slot, fresh: Any) -> Any:
            slots = shared if slot.path is None else memory.leaves[slot.path]
            if slot.setting or (slot.clock and not step) or slot.name not in slots:
                return fresh
            return _as_type(slots[slot.name], fresh, f"{slot.name} of {slot.path or cohort.name}")

        return map_slots(recollect, cohort.tx, only(params, cohort.paths), state)

    return GroupsState(
        before=opt_state.before,
        cohorts={cohort.name: remembered(cohort) for cohort in cohorts},
        after=jax.tree.map(lambda count: jnp.asarray(step, count.dtype), opt_state.after),  # the schedules' counts
    )


def recall(opt_state: GroupsState, params: Tree, cohorts: Sequence[Cohort], phase: int = 0) -> Memory:
    """Read the state of an `optimizer` by path; the inverse of `install`.

    `phase` is a number that no other phase of a fit has, and names the cohorts.
    """
    return remember(opt_state.cohorts, params, cohorts, phase)


def predict_memory(params: Tree, cohorts: Sequence[Cohort], phase: int = 0) -> Memory:
    """Return what `recall` will return after a phase, as shapes."""
    states = {cohort.name: jax.eval_shape(cohort.tx.init, only(params, cohort.paths)) for cohort in cohorts}
    return remember(states, params, cohorts, phase)


def remember(states: Mapping[str, optax.OptState], params: Tree, cohorts: Sequence[Cohort], phase: int = 0) -> Memory:
    """Read the states of cohorts, by their names, into a memory."""
    leaves: dict[str, dict[str, Any]] = {}
    shared: dict[str, dict[str, Any]] = {}

    def note(slot: Slot, leaf: Any) -> None:
        if not slot.setting:
            (shared[name] if slot.path is None else leaves[slot.path])[slot.name] = _data(leaf)

    flat, names = flatten(params), {cohort.name: f"{phase}:{cohort.name}" for cohort in cohorts}
    for cohort in cohorts:
        name = names[cohort.name]
        shared[name] = {}
        leaves |= {path: {} for path in cohort.paths}
        map_slots(note, cohort.tx, only(params, cohort.paths), states[cohort.name])
    return Memory(
        leaves=leaves,
        shared=shared,
        cohorts={path: names[cohort.name] for cohort in cohorts for path in cohort.paths},
        sizes={names[cohort.name]: len(cohort.paths) for cohort in cohorts},
        shapes={path: tuple(flat[path].shape) for cohort in cohorts for path in cohort.paths},
    )


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    """Return an array as one that can be saved: a random key as its numbers, copied, for they are the state's own."""
    if not hasattr(leaf, "shape"):
        return np.asarray(leaf)
    if not _is_key(leaf):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(jax.random.key_data, leaf)
    return jnp.array(jax.random.key_data(leaf))


def _as_type(kept: Any, fresh: Any, what: str) -> Any:
    if _is_key(fresh):
        return jax.random.wrap_key_data(jnp.asarray(kept, jnp.uint32), impl=jax.random.key_impl(fresh))
    dtype = jnp.result_type(fresh)
    if kept.dtype != dtype and not isinstance(kept, jax.core.Tracer):
        kept, lost = cast(np.asarray(kept), dtype)
        if lost:
            raise CheckpointError(f"the optimizer's {what}: {lost}: train in the type that the run was begun in")
    return jnp.asarray(kept, dtype)
