"""Slots: the arrays in the state of an optax transformation, each with a name and the leaf that it belongs to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import optax

from tlx.tree.paths import SEPARATOR, Tree

# States of schedules. They count the steps of a phase, as a group's own schedule does: moments are worth keeping when
# the next phase begins, but a learning rate that has decayed to nothing is not.
_CLOCKS = (optax.ScaleByScheduleState, optax.AddDecayedWeightsState, optax.contrib.ReduceLROnPlateauState)
_INJECTED = (optax.InjectStatefulHyperparamsState, optax.InjectHyperparamsState)


@dataclass(frozen=True)
class Slot:
    """An array in a state.

    `name` is where in the state it is, a leaf's own name left out: '0.ScaleByAdamState.mu'. `path` is the leaf that it
    belongs to, or None where it belongs to all together, as a count of steps does. `clock` says that it is of a
    schedule, and `setting` that it is a constant that the transformation was made with.
    """

    name: str
    path: str | None
    clock: bool = False
    setting: bool = False


def map_slots(
    function: Callable[[Slot, Any], Any], tx: optax.GradientTransformation, params: Tree, state: optax.OptState
) -> optax.OptState:
    """Replace each array of a transformation's state by `function(slot, array)`.

    Which leaf an array belongs to, optax tells by `optax.tree_map_params`: it need not have the leaf's shape, and a
    leaf may have several or none (`optax.adafactor`, `optax.contrib.muon`). The state of a transformation that optax
    cannot tell this of (`optax.flatten`, one that keeps a list of its own) belongs to all leaves together.

    Args:
        function: takes a slot and the array, or the shape, that the state has there.
        tx: the transformation.
        params: the tree that the state was made for; its leaves count by their paths only.
        state: what `tx.init(params)` returned, as arrays or shapes, or `tx.update` after it.

    Returns:
        The state, of the same structure.

    >>> import jax.numpy as jnp
    >>> tx, params = optax.adam(0.1), {"head": {"bias": jnp.ones(3)}}
    >>> names = map_slots(lambda slot, array: (slot.name, slot.path), tx, params, tx.init(params))
    >>> names[0].count, names[0].mu["head"]["bias"]
    (('0.ScaleByAdamState.count', None), ('0.ScaleByAdamState.mu', 'head/bias'))
    """
    marked = _marked(tx, params, state)
    leaves = []
    for slot, leaf in _walk(marked, "", clock=False, setting=False):
        leaves.append(leaf.map(function, slot) if isinstance(leaf, _OfParams) else function(slot, leaf))
    # What stands for a whole tree of parameters is one leaf here, and becomes that tree.
    return jax.tree.unflatten(jax.tree.structure(marked), leaves)


def belongs_to_leaves(tx: optax.GradientTransformation, params: Tree, state: optax.OptState) -> bool:
    """Tell whether any array of a state is known to belong to a leaf, so that the rest can be kept without some leaves.

    >>> import jax.numpy as jnp
    >>> params = {"a": jnp.ones(2)}
    >>> [belongs_to_leaves(tx, params, tx.init(params)) for tx in (optax.adam(0.1), optax.flatten(optax.adam(0.1)))]
    [True, False]
    """
    return any(isinstance(leaf, _OfParams) for leaf in jax.tree.leaves(_marked(tx, params, state)))


class _OfParams:
    """Stands in a state for a tree that has the parameters' structure; JAX takes it for a leaf."""

    def __init__(self, params: Tree, tree: Any) -> None:
        keys, self.structure = jax.tree_util.tree_flatten_with_path(params)
        self.paths = [jax.tree_util.keystr(key, simple=True, separator=SEPARATOR) for key, _ in keys]
        # What stands in the place of a leaf may be a tree itself, or nothing where the transformation masks the leaf.
        self.parts = self.structure.flatten_up_to(tree)  # type: ignore[attr-defined]

    def map(self, function: Callable[[Slot, Any], Any], slot: Slot) -> Any:
        mapped = []
        for path, part in zip(self.paths, self.parts, strict=True):
            named = _walk(part, slot.name, clock=slot.clock, setting=slot.setting)
            leaves = [function(Slot(each.name, path, each.clock, each.setting), leaf) for each, leaf in named]
            mapped.append(jax.tree.unflatten(jax.tree.structure(part), leaves))
        return jax.tree.unflatten(self.structure, mapped)


def _marked(tx: optax.GradientTransformation, params: Tree, state: optax.OptState) -> Any:
    """Put an `_OfParams` in the place of each tree in a state that has the parameters' structure."""
    try:
        return optax.tree_utils.tree_map_params(tx, lambda tree: _OfParams(params, tree), state, is_leaf=lambda _: True)
    except Exception:  # optax makes a state for parameters without leaves, which a user's `init` may do anything with
        return state


def _walk(node: Any, name: str, *, clock: bool, setting: bool) -> Iterator[tuple[Slot, Any]]:
    """Go through the leaves of a state in JAX's order, with their names so far."""
    children = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda each: each is not node)[0]
    if len(children) == 1 and not children[0][0]:  # a leaf, which is its own and only child
        yield Slot(name or "state", None, clock, setting), node
        return
    # Two states that happen to have fields of one name are not the same.
    owner = f"{type(node).__name__}." if hasattr(node, "_fields") else ""
    for key, child in children:
        own = jax.tree_util.keystr(key, simple=True, separator=".")
        injected = isinstance(node, _INJECTED) and own != "inner_state"
        yield from _walk(
            child,
            f"{name}.{owner}{own}" if name else f"{owner}{own}",
            clock=clock or isinstance(node, _CLOCKS) or injected,
            setting=setting or (injected and own == "hyperparams"),
        )
