"""Phases: a recipe is a tuple of them, each saying what trains, how, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, get_args

import optax

from tlx.errors import ConfigError, check_choice
from tlx.optim.brief import brief
from tlx.optim.describe import describe, describe_parts
from tlx.optim.groups import Group

Monitor = str
"""A score of validation: "val_loss", "val_accuracy", or "val_" and any other metric of the objective."""

Norms = Literal["batch", "stored"]


@dataclass(frozen=True, repr=False)
class Phase:
    """One phase of a recipe.

    `rules` label the parameters (`tlx.tree.label_tree`), `groups` says how each label but 'frozen' trains. With
    `patience`, training stops after that many epochs without a better `monitor`, and the weights of the best epoch come
    back; in a later phase those with which it began, its epoch 0, where none was better. Leaves selected by a pattern
    of `fresh` are initialised anew before the phase. With `norms` "stored", batch norms run on their stored statistics
    and leave them alone, even where their scale and bias train. Without validation examples no phase stops early.
    """

    name: str
    epochs: int
    rules: tuple[tuple[str, str], ...]
    groups: Mapping[str, Group]
    patience: int | None = None
    monitor: Monitor = "val_loss"
    fresh: tuple[str, ...] = ()
    norms: Norms = "batch"

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("epochs", "patience"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | None):
                raise ConfigError(f"phase {self.name!r}: {name} must be a whole number, not {value!r:.40}")
        if self.epochs is None or self.epochs < 1:
            raise ConfigError(
                f"phase {self.name!r}: epochs must be at least 1, not {self.epochs}: leave the phase out; the recipe "
                "probe trains the head alone, full the head with the base"
            )
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"phase {self.name!r}: patience must be at least 1, not {self.patience}")
        if not isinstance(self.monitor, str) or not self.monitor.startswith("val_"):
            raise ConfigError(
                f"phase {self.name!r}: monitor {self.monitor!r} is no score of validation, such as 'val_loss' or "
                "'val_accuracy': write 'val_' before the metric's name"
            )
        check_choice("norms", self.norms, get_args(Norms))
        for label, group in self.groups.items():
            if not isinstance(group, Group):
                raise ConfigError(
                    f"phase {self.name!r}: the group of label {label!r} must be a tlx.optim.Group, not {group!r:.80}"
                )


Recipe = tuple[Phase, ...]


def check_phases(recipe: Any) -> None:
    """Raise `ConfigError` for what is no recipe: a phase alone, none at all, or something else.

    >>> check_phases(())
    Traceback (most recent call last):
        ...
    tlx.errors.ConfigError: recipe: expected at least one tlx.Phase
    """
    if isinstance(recipe, Phase):
        raise ConfigError("recipe: one Phase, expected a tuple: write (phase,)")
    if not isinstance(recipe, tuple | list) or not all(isinstance(phase, Phase) for phase in recipe):
        raise ConfigError(f"recipe: {recipe!r:.80}, expected a tuple of tlx.Phase, such as tlx.recipes.probe(stages)")
    if not recipe:
        raise ConfigError("recipe: expected at least one tlx.Phase")


def to_plain(value: Any) -> Any:
    """Turn phases, groups and schedules into plain data for JSON; a dataclass becomes a dict with its name as 'kind'.

    Optax's transformations and schedules are described by their settings (`tlx.optim.describe`), other functions by
    their names.

    >>> from tlx.optim.schedules import Constant
    >>> to_plain(Constant(0.1))
    {'kind': 'Constant', 'rate': 0.1}
    """
    if is_dataclass(value):
        own = {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
        return {"kind": type(value).__name__, **own}
    if isinstance(value, optax.GradientTransformation):
        return {"kind": "GradientTransformation", "made_by": describe_parts(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if getattr(value, "__module__", "").partition(".")[0] == "optax" and callable(value):
        return describe(value)
    if callable(value):  # a function of the user's, by its name
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__name__)}"
    return value
