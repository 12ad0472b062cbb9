"""Check that an optimizer of the user's can train the parameters of its group, before the first step."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx.errors import ConfigError
from tlx.optim.groups import Group, only
from tlx.optim.schedules import Schedule
from tlx.tree.paths import Tree, flatten


def check_optimizers(params: Tree, phases: Iterable[tuple[Tree, Mapping[str, Group]]]) -> None:
    """Raise `ConfigError` for an optax transformation or a schedule that cannot train the leaves of its group.

    That is: one that fails on them, that wants to be told what a step does not know, that changes the type or shape of
    the updates or of its own state; one with a learning rate of its own beside a schedule, and one without any rate.

    Args:
        params: the parameters, or their shapes.
        phases: the labels of each phase, and a group for each label but 'frozen'.

    >>> from tlx.optim.schedules import Constant
    >>> check_optimizers({"w": jnp.ones(2)}, [({"w": "x"}, {"x": Group(Constant(1e-3), optax.lion(1e-3))})])
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: group 'x': the optimizer has a learning rate of its own, whose minus the schedule would turn
    around: leave out the schedule, or give a transformation without a rate, such as optax.scale_by_lion()
    """
    known: set[Any] = set()  # a gradual recipe has one optimizer in many phases, and to try one is to compile it
    for labels, groups in phases:
        label_of = flatten(labels)
        for label, group in groups.items():
            if not (group.schedule is None or isinstance(group.schedule, Schedule)):
                _check_schedule(label, group)
            if isinstance(group.optimizer, optax.GradientTransformation):
                leaves = only(params, {path for path, each in label_of.items() if each == label})
                _check_step(label, group.optimizer, leaves)
                if (pair := (group.optimizer, group.schedule is None)) not in known:
                    _check_direction(label, group, leaves)
                    known.add(pair)


def _check_schedule(label: str, group: Group) -> None:
    schedule: Any = group.rate(1)
    try:
        rate = jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception as error:
        raise ConfigError(
            f"group {label!r}: the schedule cannot be compiled ({_first_line(error)}): it is a function of the step, "
            "an int32 scalar, in jax.numpy; write a condition as jnp.where, or use one of optax's schedules"
        ) from error
    if getattr(rate, "shape", None) != ():
        raise ConfigError(f"group {label!r}: the schedule returns {rate}, not one learning rate")


def _step(tx: optax.GradientTransformation, params: Tree, gradient: Tree) -> tuple[Any, Tree, Any]:
    """Take a first step; return the state before it, the updates, and the state after it."""
    state = tx.init(params)
    updates, after = optax.with_extra_args_support(tx).update(gradient, state, params, value=jnp.ones(()))
    return state, updates, after


def _check_step(label: str, tx: optax.GradientTransformation, params: Tree) -> None:
    try:
        state, updates, after = jax.eval_shape(lambda tree: _step(tx, tree, tree), params)
    except Exception as error:
        raise ConfigError(
            f"group {label!r}: the optimizer cannot train these parameters ({_first_line(error)}); it is given the "
            "gradient, its state, the parameters and the loss as `value`"
        ) from error
    if _types(updates) != _types(params):
        raise ConfigError(f"group {label!r}: the optimizer's updates have not the shapes and types of the parameters")
    if _types(state) != _types(after):
        raise ConfigError(
            f"group {label!r}: the optimizer's state changes shape or type in a step: {_changes(state, after)}"
        )


def _check_direction(label: str, group: Group, params: Tree) -> None:
    """Raise where the first update along a gradient of ones shows that the rate is there twice, or not at all."""
    assert isinstance(group.optimizer, optax.GradientTransformation)
    first: dict[int, str] = {}  # a small leaf of each rank will do
    for path, leaf in flatten(params).items():
        if hasattr(leaf, "shape"):
            first.setdefault(len(leaf.shape), path)
    tx, some = group.optimizer, only(params, first.values())
    ones = jax.tree.map(lambda leaf: jnp.ones((2,) * len(leaf.shape), leaf.dtype), some)
    try:
        updates = jax.jit(lambda tree: _step(tx, tree, tree)[1])(ones)
    except Exception:  # it looks at more than ranks: nothing can be told
        return
    signs = {int(sign) for leaf in jax.tree.leaves(updates) for sign in np.unique(np.sign(np.asarray(leaf)))}
    if group.schedule is not None and signs == {-1}:
        raise ConfigError(
            f"group {label!r}: the optimizer has a learning rate of its own, whose minus the schedule would turn "
            "around: leave out the schedule, or give a transformation without a rate, such as optax.scale_by_lion()"
        )
    if group.schedule is None and signs == {1}:
        raise ConfigError(
            f"group {label!r}: the optimizer has no learning rate and climbs the loss: give a schedule beside it, as "
            "in Group(Constant(1e-4), optax.scale_by_lion())"
        )


def _types(tree: Any) -> tuple[Any, list[Any]]:
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def _changes(before: Any, after: Any) -> str:
    if _types(before)[0] != _types(after)[0]:
        return "another structure"
    leaves = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    differ = [
        f"{jax.tree_util.keystr(path)} from {old.dtype}{list(old.shape)} to {new.dtype}{list(new.shape)}"
        for (path, old), new in leaves
        if (old.shape, old.dtype) != (new.shape, new.dtype)
    ]
    return ", ".join(differ[:3])


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
