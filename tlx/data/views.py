"""Views of a source: some of its examples, other numbers for its classes, what it has to be scanned for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.source import (
    Columns,
    Example,
    Source,
    TargetKind,
    check_targets,
    describe,
    digest,
    digests_of,
    names_of,
    shapes_of,
    sizes_of,
    take,
    target_kind,
    targets_of,
)
from tlx.errors import DataError
from tlx.tree.paths import quote


class Subset:
    """See the examples of a source at `indices`, in that order.

    >>> from tlx.data import ArraySource
    >>> digits = ArraySource(np.zeros((3, 1, 1), np.uint8), [0, 1, 2])
    >>> [int(example["target"]) for example in Subset(digits, [2, 0])]
    [2, 0]
    """

    def __init__(self, source: Source, indices: Any) -> None:
        self.source = source
        self.indices = np.asarray(indices, np.int64).reshape(-1)
        outside = (self.indices < 0) | (self.indices >= len(source))
        if outside.any():
            raise DataError(f"indices: {self.indices[outside][0]} is not one of the source's {len(source)} examples")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def target_kind(self) -> TargetKind:
        return target_kind(self.source)

    __repr__ = describe

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    @property
    def targets(self) -> np.ndarray | None:
        return None if self.target_kind == "none" else targets_of(self.source)[self.indices]

    @property
    def digests(self) -> tuple[bytes, ...]:
        every = digests_of(self.source)
        return tuple(every[i] for i in self.indices)

    @property
    def names(self) -> tuple[str, ...] | None:
        every = names_of(self.source)
        return every if every is None else tuple(every[i] for i in self.indices)

    @property
    def shapes(self) -> np.ndarray | None:
        every = shapes_of(self.source)
        return every if every is None else every[self.indices]

    @property
    def sizes(self) -> np.ndarray | None:
        every = sizes_of(self.source)
        return every if every is None else every[self.indices]

    def take(self, indices: np.ndarray) -> Columns:
        """Gather columns as the source does."""
        return take(self.source, self.indices[indices])


class Relabelled:
    """See a source's examples with the classes, labels or outputs of a model, by their names.

    Raise `DataError` for a class of the source that is none of `classes`, and where targets are no classes for one that
    the source lacks.

    >>> from tlx.data import ArraySource, labels_of
    >>> pets = ArraySource(np.zeros((2, 1, 1), np.uint8), [0, 1], ("cat", "dog"))
    >>> labels_of(Relabelled(pets, ("ant", "bee", "cat", "dog"))).tolist()
    [2, 3]
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        extra = [name for name in source.classes if name not in classes]
        if extra:
            listed = ", ".join(map(repr, extra[:5])) + (", ..." if len(extra) > 5 else "")
            raise DataError(f"data: {len(extra)} classes that the model does not know: {listed}; rename or remove them")
        missing = [name for name in classes if name not in source.classes]
        if missing and target_kind(source) not in ("class", "tags"):
            listed = quote(missing, 5)
            raise DataError(f"data: lacks {len(missing)} targets that the model predicts: {listed}; add them")
        self.source, self.classes = source, tuple(classes)
        self._index = np.array([self.classes.index(name) for name in source.classes], np.int32)

    @property
    def target_kind(self) -> TargetKind:
        return target_kind(self.source)

    __repr__ = describe

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        target = check_targets([example["target"]], self.source, "targets", [index])
        return {**example, "target": self._renamed(target)[0]}

    def _renamed(self, targets: np.ndarray) -> np.ndarray:
        """Number classes and tags anew, or put the columns of other targets into the model's order."""
        if self.target_kind == "tags":
            return np.where(targets >= 0, self._index[targets], -1).astype(np.int32)
        return self._index[targets] if targets.ndim == 1 else targets[:, np.argsort(self._index)]

    @property
    def targets(self) -> np.ndarray:
        return self._renamed(targets_of(self.source))

    @property
    def digests(self) -> tuple[bytes, ...]:
        return digests_of(self.source)

    @property
    def names(self) -> tuple[str, ...] | None:
        return names_of(self.source)

    @property
    def sizes(self) -> np.ndarray | None:
        return sizes_of(self.source)

    def take(self, indices: np.ndarray) -> Columns:
        """Gather columns as the source does, with the targets renamed."""
        columns = take(self.source, indices)
        return {**columns, "target": self._renamed(columns["target"])}


class Scanned:
    """See a source that has no targets or digests at hand, and look at each example once to have them.

    >>> from tlx.data import ArraySource, labels_of
    >>> pets = Scanned(Subset(ArraySource(np.zeros((2, 1, 1), np.uint8), [0, 1], ("cat", "dog")), [1]))
    >>> labels_of(pets).tolist()
    [1]
    """

    def __init__(self, source: Source) -> None:
        self.source, self.classes = source, tuple(source.classes)
        self.first_input: Any = None  # of the first example, once it was looked at

    @property
    def target_kind(self) -> TargetKind:
        return target_kind(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.source[index]

    @property
    def targets(self) -> Any:
        own = getattr(self.source, "targets", None)
        return self._scanned[0] if own is None and self.target_kind != "none" else own

    @property
    def digests(self) -> tuple[bytes, ...]:
        own = getattr(self.source, "digests", None)
        return self._scanned[1] if own is None else own

    @cached_property
    def _scanned(self) -> tuple[list[Any], tuple[bytes, ...]]:
        targets, digests = [], []
        for index in range(len(self.source)):
            example = self.source[index]
            if not index:
                self.first_input = example["input"]
            targets.append(example.get("target"))
            digests.append(digest(example["input"]))
        return targets, tuple(digests)

    @property
    def names(self) -> tuple[str, ...] | None:
        return names_of(self.source)

    def take(self, indices: np.ndarray) -> Columns:
        """Gather columns as the source does."""
        return take(self.source, indices)


def in_memory(source: Source) -> bool:
    """Tell whether the inputs are arrays in memory, so that to gather some is to copy them.

    >>> from tlx.data import ArraySource
    >>> in_memory(Subset(ArraySource(np.zeros((3, 1, 1), np.uint8), [0, 1, 2]), [2, 0]))
    True
    """
    return isinstance(unwrapped(source), ColumnSource)


def unwrapped(source: Source) -> Source:
    """Return the source below `Subset` and `Relabelled`.

    >>> from tlx.data import ArraySource
    >>> digits = ArraySource(np.zeros((3, 1, 1), np.uint8), [0, 1, 2])
    >>> unwrapped(Subset(digits, [2, 0])) is digits
    True
    """
    while isinstance(source, (Subset, Relabelled)):
        source = source.source
    return source
