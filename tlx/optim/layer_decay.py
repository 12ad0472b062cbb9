"""Layer-wise decay: the deeper a stage lies under the head, the lower its learning rate."""

from collections.abc import Sequence
from dataclasses import replace

from tlx.errors import ConfigError
from tlx.optim.groups import Group


def layer_decay(
    stages: Sequence[str], group: Group, decay: float
) -> tuple[tuple[tuple[str, str], ...], dict[str, Group]]:
    """Return rules and groups that train each stage as `group` does, at a rate that falls by `decay` a stage downward.

    `stages` are in the order of the network; the last keeps the group's rate, the one before has rate * decay, and so
    on. (J. Howard and S. Ruder, ULMFiT, 2018, "discriminative fine-tuning"; the depth groups of timm and BEiT.)

    >>> from tlx.optim.schedules import Constant
    >>> rules, groups = layer_decay(["conv1", "conv2"], Group(Constant(0.1)), decay=0.5)
    >>> rules
    (('base/conv1', 'conv1'), ('base/conv2', 'conv2'))
    >>> groups["conv1"].schedule, groups["conv2"].schedule
    (Constant(rate=0.05), Constant(rate=0.1))
    """
    if not 0 < decay <= 1:
        raise ConfigError(f"layer decay must be above 0 and at most 1, not {decay}")
    groups = {
        stage: replace(group, schedule=replace(group.schedule, rate=group.schedule.rate * decay**depth))
        for depth, stage in enumerate(reversed(stages))
    }
    return tuple((f"base/{stage}", stage) for stage in stages), {stage: groups[stage] for stage in stages}
