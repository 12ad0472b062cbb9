"""Examples in memory: columns of arrays, and images with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tlx.data.source import Columns, Example, TargetKind, check_targets, describe, digest
from tlx.data.validate import as_array, check_classes, check_labels, on_scale
from tlx.errors import DataError
from tlx.text.sentences import are_sentences


class ColumnSource:
    """Hold columns in memory: `input` and, if there is one, `target`, and any further ones.

    Args:
        columns: arrays (N, …), by name; `input` may also be a dict of such arrays, or a list of texts.
        classes: the names of what the outputs stand for.
        target_kind: what the targets are (`tlx.data.Source`); "none" where there is no `target`.
        names: what the examples are called, in messages and reports.

    Raises:
        DataError: for no examples, columns of other lengths, and bad targets, naming the column and the row.

    >>> source = ColumnSource({"input": np.zeros((3, 8), np.float32), "target": [0, 1, 1]}, ("no", "yes"))
    >>> int(source[1]["target"]), len(source)
    (1, 3)
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        classes: Sequence[str] = (),
        target_kind: TargetKind = "class",
        names: Sequence[str] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        self.names = None if names is None else tuple(names)
        self.target_kind: TargetKind = target_kind if "target" in columns else "none"
        if "input" not in columns:
            raise DataError(f"columns: {', '.join(columns) or 'none'}; one must be 'input'")
        self.columns: dict[str, Any] = {name: _column(values) for name, values in columns.items() if name != "target"}
        if "target" in columns:
            self.columns["target"] = check_targets(columns["target"], self, "targets")
        lengths = {place: len(values) for name, column in self.columns.items() for place, values in _flat(name, column)}
        if not lengths or min(lengths.values()) == 0:
            raise DataError("columns: no examples; give at least one")
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns: of different lengths: {', '.join(f'{n} {k}' for n, k in lengths.items())}")
        self._length = next(iter(lengths.values()))
        if self.names is not None and len(self.names) != self._length:
            raise DataError(f"names: {len(self.names)} names for {self._length} examples; give one each")

    __repr__ = describe

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        return {name: _rows(column, index) for name, column in self.columns.items()}

    @property
    def targets(self) -> np.ndarray | None:
        return self.columns.get("target")

    def take(self, indices: np.ndarray) -> Columns:
        """Gather all columns at once."""
        return {name: _rows(column, indices) for name, column in self.columns.items()}

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        return tuple(digest(_rows(self.columns["input"], index)) for index in range(len(self)))


def _column(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _column(each) for name, each in values.items()}
    if not hasattr(values, "dtype") and len(values) and isinstance(values[0], str):
        return np.array(values, object)
    if not hasattr(values, "dtype") and are_sentences(values):
        return _objects(values)
    array = np.asarray(values)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DataError(f"columns: row {row} has a number that is not finite (NaN or infinity)")
    array = array.view()
    array.setflags(write=False)
    return array


def _objects(values: Sequence[Any]) -> np.ndarray:
    """Return sentences as an object array (N,) of tuples, also where all have as many words."""
    column = np.empty(len(values), object)
    for row, words in enumerate(values):
        column[row] = tuple(words)
    return column


def _flat(name: str, column: Any) -> list[tuple[str, Any]]:
    if isinstance(column, Mapping):
        return [pair for key, each in column.items() for pair in _flat(f"{name}/{key}", each)]
    return [(name, column)]


def _rows(column: Any, rows: Any) -> Any:
    if isinstance(column, Mapping):
        return {name: _rows(each, rows) for name, each in column.items()}
    return column[rows]


class ArraySource(ColumnSource):
    """Hold images and labels in memory, checked when built.

    Args:
        images: (N, H, W) or (N, H, W, C), C as many as the preprocessing takes.
        labels: (N,) of integers, the classes' numbers.
        classes: the classes' names; by default "0" to the largest label.
        value_range: which two values are black and white: by default (0, 255) for integers and (False, True) for
            booleans, and required for floats. uint8 stays as it is when the range is (0, 255); the rest becomes float32
            on the scale 0..255.
        target_kind: what `labels` are, where they are no classes (`tlx.data.Source`).
        images_name: what errors call the images.
        labels_name: what errors call the labels.

    Raises:
        DataError: for other shapes or types, unequal lengths, no images, pixels that are not finite or outside the
            range, and labels outside the classes, naming the first row (counted from 0).

    >>> source = ArraySource(np.array([[[0, 128]], [[255, 3]]], np.uint8), [1, 0], classes=("cat", "dog"))
    >>> source.classes[source[0]["target"]]
    'dog'
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        classes: Sequence[str] | None = None,
        *,
        value_range: tuple[float, float] | None = None,
        target_kind: TargetKind = "class",
        images_name: str = "images",
        labels_name: str = "labels",
    ) -> None:
        self.images = on_scale(as_array(images, images_name), value_range, images_name)
        if target_kind == "class":
            numbers = check_labels(labels, labels_name)
            classes = _check_lengths(self.images, numbers, images_name, labels_name) or check_classes(
                classes, numbers, labels_name
            )
            targets: Any = numbers.astype(np.int32)
        else:
            targets = np.asarray(labels)
            _check_lengths(self.images, targets, images_name, labels_name)
            classes = numbered_outputs(targets) if classes is None else classes
        self.images.setflags(write=False)
        super().__init__({"input": self.images, "target": targets}, classes, target_kind)
        self.columns["target"].setflags(write=False)


def _check_lengths(images: np.ndarray, labels: np.ndarray, images_name: str, labels_name: str) -> tuple[str, ...]:
    if len(labels) != len(images):
        raise DataError(f"{labels_name}: {len(labels)} labels for {len(images)} images in {images_name}; give one each")
    return ()


def numbered_outputs(targets: np.ndarray) -> tuple[str, ...]:
    """Name as many outputs as targets (N,) or (N, K) have, "0" and on.

    >>> numbered_outputs(np.zeros((5, 2)))
    ('0', '1')
    """
    return tuple(map(str, range(1 if targets.ndim == 1 else targets.shape[-1])))


def vectors(
    inputs: Any,
    targets: Any,
    classes: Sequence[str] | None = None,
    target_kind: TargetKind = "class",
    names: Sequence[str] | None = None,
    inputs_name: str = "inputs",
) -> ColumnSource:
    """Hold vectors in memory: features of another model, mostly, and a target for each.

    Args:
        inputs: (N, D), numbers.
        targets: (N,) or (N, K), as `target_kind` says.
        classes: the names of the classes, labels or numbers; by default "0" and on.
        target_kind: what the targets are (`tlx.data.Source`).
        names: what the examples are called.
        inputs_name: what errors call the inputs.

    Raises:
        DataError: for other shapes, numbers that are not finite in float32, unequal lengths and bad targets, naming the
            row.

    >>> vectors([[0.5, 1.0], [0.2, 3.0]], [1, 0])
    ColumnSource(2 examples, 2 classes: '0', '1')
    """
    array = as_array(inputs, inputs_name)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{inputs_name}: shape {array.shape}, expected vectors (N, D), N and D at least 1")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise DataError(f"{inputs_name}: row {int(finite.argmin())} has a number that is not finite in float32")
    if target_kind == "class":
        targets = check_labels(targets)
        classes = check_classes(classes, targets)
    elif classes is None:
        classes = numbered_outputs(np.asarray(targets))
    return ColumnSource({"input": array, "target": targets}, classes, target_kind, names)
