"""Layer-wise decay: the deeper a stage lies under the head, the lower its learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlx.errors import ConfigError
from tlx.optim.groups import Group
from tlx.optim.schedules import Schedule


def layer_decay(
    stages: Sequence[str], group: Group, decay: float
) -> tuple[tuple[tuple[str, str], ...], dict[str, Group]]:
    """Return rules and groups that train each stage as `group` does, at a rate that falls by `decay` a stage downward.

    `stages` are in the order of the network; the last keeps the group's rate, the one before has rate * decay, and so
    on. (J. Howard and S. Ruder, ULMFiT, 2018, "discriminative fine-tuning"; the depth groups of timm and BEiT.)
    Raise `ConfigError` for a decay that is none, and for a group whose optimizer has a rate of its own.

    >>> from tlx.optim.schedules import Constant
    >>> rules, groups = layer_decay(["conv1", "conv2"], Group(Constant(0.1)), decay=0.5)
    >>> rules
    (('base/conv1', 'conv1'), ('base/conv2', 'conv2'))
    >>> groups["conv1"].schedule, groups["conv2"].schedule
    (Constant(rate=0.05), Constant(rate=0.1))
    """
    if not 0 < decay <= 1:
        raise ConfigError(f"layer decay must be above 0 and at most 1, not {decay}")
    if group.schedule is None:
        raise ConfigError(
            "layer decay lowers the rate of a group's schedule, and this group's optimizer has a rate of its own: give "
            "a schedule and a transformation without a rate, such as optax.scale_by_lion()"
        )
    groups = {
        stage: replace(group, schedule=_lowered(group.schedule, decay**depth))
        for depth, stage in enumerate(reversed(stages))
    }
    return tuple((f"base/{stage}", stage) for stage in stages), {stage: groups[stage] for stage in stages}


def _lowered(schedule: Any, factor: float) -> Any:
    if isinstance(schedule, Schedule):
        return replace(schedule, rate=schedule.rate * factor)
    return Lowered(schedule, factor)


@dataclass(frozen=True)
class Lowered:
    """A schedule that is a function, times a factor."""

    schedule: Any
    factor: float

    def __call__(self, step: Any) -> Any:
        return self.factor * self.schedule(step)
