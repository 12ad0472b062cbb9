"""Objectives as files name them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax

from tlx.errors import ConfigError
from tlx.objectives.classification import Classification
from tlx.objectives.multi_label import MultiLabel
from tlx.objectives.objective import Objective
from tlx.objectives.regression import Regression
from tlx.objectives.token_classification import TokenClassification

KINDS: dict[str, type[Objective]] = {
    kind.__name__: kind for kind in (Classification, MultiLabel, Regression, TokenClassification)
}


@dataclass(frozen=True)
class NamedObjective(Objective):
    """An objective of somebody's own, of which a file holds the name alone; predictions are the outputs as they are."""

    name: str

    def __call__(self, outputs: Any, batch: Mapping[str, Any], key: jax.Array | None = None) -> Mapping[str, Any]:
        raise ConfigError(f"objective: the model was trained for {self.name}, which is not tlx's: give it (objective=)")

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name}


def objective_from_dict(plain: Any) -> Objective:
    """Build an objective from `Objective.to_dict`'s data.

    A function of the user's is known by its name alone, and left out. Raise `ConfigError` for what is no such data.

    >>> objective_from_dict(MultiLabel(thresholds=(0.25, 0.5)).to_dict())
    MultiLabel(focal=0.0, thresholds=(0.25, 0.5))
    """
    if not isinstance(plain, Mapping) or not isinstance(plain.get("kind"), str):
        raise ConfigError(f"objective: {plain!r:.100} does not name one")
    if plain["kind"] not in KINDS:
        return NamedObjective(plain["kind"])
    kind: Any = KINDS[plain["kind"]]
    known = {each.name for each in fields(kind)}
    unknown = [name for name in plain if name not in known and name != "kind"]
    if unknown:
        raise ConfigError(f"objective: {plain['kind']} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    values = {name: tuple(each) if isinstance(each, list) else each for name, each in plain.items() if name in known}
    if kind is Classification:
        values.pop("loss", None)
    made: Objective = kind(**values)
    return made
