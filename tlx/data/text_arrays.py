"""Texts in memory, and pairs of texts, with their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlx.data.arrays import ColumnSource, numbered_outputs
from tlx.data.source import Source, TargetKind
from tlx.data.validate import check_classes, check_labels
from tlx.data.views import unwrapped
from tlx.errors import DataError
from tlx.text.sentences import are_sentences

PAIR = ("text", "pair")


def texts(
    inputs: Any,
    targets: Any = None,
    classes: Sequence[str] | None = None,
    target_kind: TargetKind = "class",
    names: Sequence[str] | None = None,
    inputs_name: str = "inputs",
) -> ColumnSource:
    """Hold texts in memory, or pairs of texts, and a target for each.

    Args:
        inputs: N texts; or N pairs of texts, or a mapping of N texts each as `text` and `pair`. Blanks around a text
            are taken away.
        targets: (N,) or (N, K), as `target_kind` says; None where there are none.
        classes: the names of the classes, labels or numbers; by default "0" and on.
        target_kind: what the targets are (`tlx.data.Source`).
        names: what the examples are called.
        inputs_name: what errors call the inputs.

    Returns:
        A source whose input is a text, or of pairs a mapping of `text` and `pair`.

    Raises:
        DataError: for what is no text, an empty one, unequal lengths and bad targets, naming the row.

    >>> texts(["a film", "no film"], [1, 0])
    ColumnSource(2 examples, 2 classes: '0', '1')
    >>> texts([("a film", "a movie")])[0]["input"]
    {'text': 'a film', 'pair': 'a movie'}
    """
    columns = [_checked(column, inputs_name) for column in _columns(inputs, inputs_name)]
    if targets is None:
        return ColumnSource({"input": text_column(columns)}, names=names)
    if target_kind == "class":
        targets = check_labels(targets)
        classes = check_classes(classes, targets)
    elif classes is None:
        classes = numbered_outputs(np.asarray(targets))
    return ColumnSource({"input": text_column(columns), "target": targets}, classes, target_kind, names)


def text_column(columns: Sequence[Sequence[str]]) -> Any:
    """Return one column of texts as an object array (N,), and two as a dict of such, `text` and `pair`.

    >>> text_column([["a"], ["b"]])
    {'text': array(['a'], dtype=object), 'pair': array(['b'], dtype=object)}
    """
    arrays = [_objects(column) for column in columns]
    return arrays[0] if len(arrays) == 1 else dict(zip(PAIR, arrays, strict=True))


def text_fault(value: Any) -> str | None:
    """Say what is wrong with a text, or return None.

    >>> text_fault("a film"), text_fault(" "), text_fault(3)
    (None, 'is empty', 'is 3, and no text')
    """
    if not isinstance(value, str):
        return f"is {value!r:.40}, and no text"
    if not value.strip():
        return "is empty"
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return "is no Unicode text"
    return "has a NUL character" if "\0" in value else None


def are_texts(inputs: Any) -> bool:
    """Tell whether inputs are texts or pairs of texts, by the first of them.

    >>> are_texts(["a film"]), are_texts([("a film", "a movie")]), are_texts(np.zeros((2, 3))), are_texts([[1, 2]])
    (True, True, False, False)
    """
    if isinstance(inputs, Mapping):
        return bool(inputs) and set(inputs) <= set(PAIR)
    if isinstance(inputs, str) or not hasattr(inputs, "__len__") or not len(inputs):
        return False
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "OU":
        return False
    first = next(iter(inputs))
    return isinstance(first, str) or (
        isinstance(first, list | tuple | np.ndarray) and len(first) == 2 and isinstance(first[0], str)
    )


def holds_texts(source: Source) -> bool:
    """Tell whether a source holds texts in memory, pairs of them, or sentences of words.

    >>> holds_texts(texts(["a film"])), holds_texts(ColumnSource({"input": np.zeros((3, 8))}))
    (True, False)
    """
    inner = unwrapped(source)
    column = inner.columns["input"] if isinstance(inner, ColumnSource) else None
    column = column.get("text") if isinstance(column, dict) else column
    if not isinstance(column, np.ndarray) or column.dtype != object:
        return False
    return isinstance(column[0], str) or are_sentences(column)


def _columns(inputs: Any, name: str) -> list[list[Any]]:
    """Return one column of texts, or two."""
    if isinstance(inputs, Mapping):
        if set(inputs) != set(PAIR):
            raise DataError(f"{name}: columns {', '.join(inputs)}; pairs of texts have text and pair")
        columns = [list(inputs[each]) for each in PAIR]
        if len(columns[0]) != len(columns[1]):
            raise DataError(f"{name}: {len(columns[0])} texts and {len(columns[1])} pairs; give one each")
        return columns
    rows = list(inputs)
    if not rows or isinstance(rows[0], str):
        return [rows]
    for row, pair in enumerate(rows):
        if isinstance(pair, str) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise DataError(f"{name}: row {row} is {pair!r:.40}, expected a pair of texts")
    return [[pair[0] for pair in rows], [pair[1] for pair in rows]]


def _checked(column: Sequence[Any], name: str) -> list[str]:
    for row, value in enumerate(column):
        if (fault := text_fault(value)) is not None:
            raise DataError(f"{name}: row {row} {fault}; give each a text")
    return [str(value).strip() for value in column]


def _objects(column: Sequence[str]) -> np.ndarray:
    array = np.empty(len(column), object)
    array[:] = column
    return array
