"""Memory: the optimizer's state kept by path, so that it outlives a phase and its labels."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, GetAttrKey

from tlx.errors import CheckpointError
from tlx.optim.groups import Group
from tlx.tree._cast import cast
from tlx.tree.labels import FROZEN
from tlx.tree.paths import SEPARATOR, Tree, flatten

Memory = dict[str, dict[str, Any]]  # path -> {"age": steps it has trained, slot (mu, nu, trace): array like the leaf}

_CORE = 1  # the place of the optimizers proper in the chain that `optimizer` builds


def ages_of(memory: Memory, labels: Tree, groups: Mapping[str, Group]) -> dict[str, int]:
    """Tell for how many steps each path that trains under `labels` has trained before.

    A path counts as new (0) when it never trained, or trained with an optimizer that keeps other slots.
    """
    return {
        path: memory[path]["age"] if path in memory and set(groups[label].optimizer.slots) < set(memory[path]) else 0
        for path, label in flatten(labels).items()
        if label is not None and label != FROZEN
    }


def install(opt_state: Any, memory: Memory, ages: Mapping[str, int], step: int = 0) -> Any:
    """Write what is remembered into the fresh state of an `optimizer` built with `ages`; the inverse of `recall`.

    `step` is the step within the phase, for the schedules. A path of age 0 starts fresh, with a bias correction of its
    own, even where its group has been running. Both directions share arrays with the state: a step that donates its
    state takes them from the memory too.
    """
    before, core, after = opt_state
    places = [_place(key) for key, _ in jax.tree_util.tree_flatten_with_path(core)[0]]
    age_of = {cohort: ages[path] for cohort, _, path in places if path}  # all of a cohort are of one age

    def remembered(key: Any, fresh: jax.Array) -> jax.Array:
        cohort, slot, path = _place(key)
        if not path:
            return jnp.asarray(age_of[cohort], fresh.dtype)
        return _as_type(memory[path][slot], fresh.dtype, f"{slot} of {path}") if ages[path] else fresh

    return (
        before,
        jax.tree_util.tree_map_with_path(remembered, core),
        jax.tree.map(lambda count: jnp.asarray(step, count.dtype), after),
    )


def recall(opt_state: Any, ages: Mapping[str, int], step: int) -> Memory:
    """Read the state of an `optimizer` by path, `step` steps after it was installed; the inverse of `install`."""
    memory: Memory = {path: {"age": age + step} for path, age in ages.items()}
    for key, leaf in jax.tree_util.tree_flatten_with_path(opt_state[_CORE])[0]:
        _, slot, path = _place(key)
        if path:
            memory[path][slot] = leaf
    return memory


def _as_type(kept: Any, dtype: Any, what: str) -> jax.Array:
    if kept.dtype != dtype and not isinstance(kept, jax.core.Tracer):
        kept, lost = cast(np.asarray(kept), dtype)
        if lost:
            raise CheckpointError(f"the optimizer's {what}: {lost}: train in the type that the run was begun in")
    return jnp.asarray(kept, dtype)


def _place(key: tuple[Any, ...]) -> tuple[str, str, str]:
    """Split a key path such as .inner_states['head@0'].inner_state.mu['head']['bias'] into cohort, slot and path."""
    last = max(index for index, entry in enumerate(key) if isinstance(entry, GetAttrKey))
    cohort = next(entry.key for entry in key if isinstance(entry, DictKey))
    return cohort, key[last].name, SEPARATOR.join(entry.key for entry in key[last + 1 :])
