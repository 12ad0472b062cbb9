"""What the activation cache works on: a part of the data, what is kept of it, and what is said of both."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tlx.data.inputs import InputSpec
from tlx.data.pipeline import Varies
from tlx.data.source import Source
from tlx.data.tokenized import by_length
from tlx.training.activations import Activations, batch_shapes, input_shapes
from tlx.training.cache_options import Where


@dataclass(frozen=True)
class Part:
    """A source of a fit, how its inputs are collated and varied, and in how many views."""

    source: Source
    spec: InputSpec
    augment: Varies | None = None
    seed: int = 0
    views: int = 1

    example: Mapping[str, Any] | None = None  # a batch of one, as shapes, where it is known

    @functools.cached_property
    def shapes(self) -> Mapping[str, Any]:
        """A batch of one example, as shapes."""
        return batch_shapes(self.source, self.spec) if self.example is None else self.example

    @property
    def collated(self) -> Any:
        """What the spec collates of one example, (1, …), as shapes."""
        return self.shapes["input"]

    @property
    def inputs(self) -> Any:
        """What the model takes of one example, (1, …), as shapes."""
        return input_shapes(self.spec, self.collated)


@dataclass(frozen=True)
class Frozen:
    """The activations with which a phase or a probe works in the place of raw inputs, and a line about them.

    There are none (`train` is None) where `note` says why.
    """

    note: str
    train: Activations | None = None
    validation: Activations | None = None
    test: Activations | None = None


@dataclass(frozen=True)
class Plan:
    """Where a phase begins: after a `stage` whose activations are in a `place`, or with raw inputs (None), and why."""

    reason: str = ""
    stage: str | None = None
    place: Where | None = None

    @property
    def note(self) -> str:
        """Say so in a line."""
        return self.reason or f"after {self.stage}, {'on disk' if self.place == 'disk' else 'in memory'}"


def starts_of(part: Part) -> np.ndarray:
    """Return where the rows of each example of a part begin, by length, in leaves that are as long as texts are."""
    source: Any = part.source
    view = by_length(source)
    lengths = source.rows.lengths[view.rows] if hasattr(source, "rows") else np.ones(len(source), np.int64)
    return np.cumsum([0, *lengths], dtype=np.int64)


def bytes_of(activations: Activations) -> int:
    """Return how many bytes activations take."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(activations.rows))


def on_disk(activations: Activations) -> bool:
    """Tell whether activations lie on disk."""
    return any(isinstance(leaf, np.memmap) for leaf in jax.tree.leaves(activations.rows))


def describe_size(count: int) -> str:
    """Say a number of bytes as people do.

    >>> describe_size(20_480), describe_size(3 << 30)
    ('20.5 kB', '3.22 GB')
    """
    value, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}"
