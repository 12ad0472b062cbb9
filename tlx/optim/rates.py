"""The learning rates of a step, for the record of an epoch."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from tlx.optim.groups import Group, GroupsState


def rates_at(step: int, groups: Mapping[str, Group], steps: int, state: GroupsState) -> dict[str, float]:
    """Return the learning rate of each group at a step of a phase.

    A rate that an optimizer has inside is known where `optax.inject_hyperparams` shows it; no other is listed.

    Args:
        step: the step within the phase, from 0.
        groups: the phase's groups by label.
        steps: the length of the phase.
        state: the state after that step.

    >>> from tlx.optim.schedules import Exponential
    >>> rates_at(10, {"head": Group(Exponential(0.1, every=10, factor=0.5))}, 20, GroupsState((), {}, ()))
    {'head': 0.05000000074505806}
    """
    rates = {}
    for label, group in groups.items():
        schedule = group.rate(steps)
        cohorts = [each for name, each in state.cohorts.items() if name.rpartition("@")[0] == label]
        shown = {float(schedule(step))} if schedule else {rate for each in cohorts for rate in _injected(each)}
        if len(shown) == 1:
            rates[label] = shown.pop()
    return rates


def _injected(state: optax.OptState) -> list[float]:
    def is_number(_: Any, value: Any) -> bool:
        return isinstance(value, jax.Array | np.ndarray) and value.size == 1

    found = optax.tree_utils.tree_get_all_with_path(state, "learning_rate", is_number)
    return [float(rate) for _, rate in found]
