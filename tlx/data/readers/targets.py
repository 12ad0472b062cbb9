"""What columns of a table say of each example that is no single class: several labels, or numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlx.data.readers.layout import order_classes
from tlx.data.source import TargetKind
from tlx.errors import DataError
from tlx.files.opening import shown

SEPARATORS = ("|", ";", ",")
_MOST_CLASSES = 20  # whole numbers of more values than these, and than a tenth of the rows, are numbers to predict
_LISTED = 10  # wrong lines named in an error
_LARGEST = float(np.finfo(np.float32).max)
_COMMA = re.compile(r"[+-]?\d+,\d+")
_FLAGS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


class Targets(NamedTuple):
    """What columns say: its kind, the names of labels or numbers, and of several labels or numbers the rows (N, C)."""

    kind: TargetKind
    names: tuple[str, ...] = ()
    rows: np.ndarray | None = None
    note: str = ""


def read_targets(
    path: str, columns: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], kind: str = "auto"
) -> Targets:
    """Read what `columns` say of each example, as `kind` ("class", "multi-label", "regression") or as it looks.

    Args:
        path: the table, for errors.
        columns: their names.
        rows: the texts of each example, one a column.
        lines: the line of each example.
        kind: "auto" takes texts as classes, or, where they share parts between bars, semicolons or commas, as several
            labels; figures as numbers, but few whole ones as classes; several columns of zeros and ones as labels, and
            of other figures as numbers.

    Returns:
        The targets; of classes only the kind, since these are read from the texts themselves.

    Raises:
        DataError: naming lines and columns, for texts that are not what they should be.

    >>> found = read_targets("a.csv", ["colours"], [["red|blue"], ["red"], [""]], [2, 3, 4])
    >>> found.kind, found.names, found.rows.tolist()
    ('multi-label', ('blue', 'red'), [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    >>> read_targets("a.csv", ["height"], [["1.5"], ["2"]], [2, 3]).rows.tolist()
    [[1.5], [2.0]]
    """
    if kind == "auto":
        _check_alike(path, columns, rows, lines)
    found = _kind_of(columns, rows) if kind == "auto" else kind
    if found == "class":
        if len(columns) > 1:
            raise DataError(
                f"{shown(path)}: {len(columns)} columns are to be the target ({_listed(columns)}), and they hold "
                "neither zeros and ones nor figures only: name one, or mend them"
            )
        classes = sorted({row[0] for row in rows})
        return Targets("class", note=f"targets: {len(classes)} classes: {_listed(classes)}" if kind == "auto" else "")
    if found == "regression":
        values = [[_number(text) for text in row] for row in rows]
        _check(path, columns, rows, lines, values, "a figure")
        return _told(found, tuple(columns), values)
    if len(columns) > 1:
        values = [[_FLAGS.get(text.strip().lower(), math.nan) for text in row] for row in rows]
        _check(path, columns, rows, lines, values, "0 or 1")
        return _told(found, tuple(columns), values)
    parts = [_parts(row[0]) for row in rows]
    names = order_classes({part for each in parts for part in each}, shown(path))
    if not names:
        raise DataError(f"{shown(path)}: {columns[0]} names no label in any line; name another column")
    numbers = {name: index for index, name in enumerate(names)}
    table = np.zeros((len(rows), len(names)), np.float32)
    for row, each in enumerate(parts):
        table[row, [numbers[name] for name in each]] = 1
    return _told("multi-label", names, table)


def _check_alike(path: str, columns: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int]) -> None:
    """Raise `DataError` where most texts of a column are figures and some are not, or have commas for points."""
    for at, column in enumerate(columns):
        texts = [row[at].strip() for row in rows]
        commas = [row for row, text in enumerate(texts) if _COMMA.fullmatch(text)]
        if commas and all(_COMMA.fullmatch(text) or _is_figure(text) for text in texts):
            raise DataError(
                f"{shown(path)}: line {lines[commas[0]]}: {column} is {shown(texts[commas[0]])!r}: write figures with "
                "a point, or say that these are several labels (--objective multi-label)"
            )
        odd = [row for row, text in enumerate(texts) if not _is_figure(text)]
        if odd and len(odd) < len(texts) / 2 and not all(text.isdigit() for text in texts if _is_figure(text)):
            faults = [f"line {lines[row]}: {column} is {shown(texts[row])!r}" for row in odd[:_LISTED]]
            more = f"; and {len(odd) - _LISTED} more" if len(odd) > _LISTED else ""
            raise DataError(
                f"{shown(path)}: {'; '.join(faults)}{more}; the others are figures: mend these lines, or say that all "
                "are names of classes (--objective classification)"
            )


def _is_figure(text: str) -> bool:
    return abs(_number(text)) <= _LARGEST


def _kind_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Say what kind of targets texts look like."""
    texts = [text.strip() for row in rows for text in row]
    figures = all(math.isfinite(_number(text)) for text in texts)
    if len(columns) > 1:
        flags = all(text.lower() in _FLAGS for text in texts)
        return "multi-label" if flags else "regression" if figures else "class"
    values = set(texts)
    if figures:
        whole = all(text.isascii() and text.isdigit() for text in values)
        return "class" if whole and len(values) <= max(_MOST_CLASSES, len(texts) // 10) else "regression"
    several = [_parts(text) for text in values if len(_parts(text)) > 1]
    parts = {part for each in several for part in each}
    shared = sum(map(len, several)) > len(parts) or bool(parts & values)
    return "multi-label" if several and shared else "class"


def _parts(text: str) -> list[str]:
    """Return the labels that one text names.

    >>> _parts("red | blue"), _parts("red, blue;dark"), _parts(" ")
    (['red', 'blue'], ['red', 'blue', 'dark'], [])
    """
    for separator in SEPARATORS:
        text = text.replace(separator, "\n")
    return [part.strip() for part in text.split("\n") if part.strip()]


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _check(
    path: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    lines: Sequence[int],
    values: Sequence[Sequence[float]],
    expected: str,
) -> None:
    """Raise `DataError` for texts that are no such value."""
    faults = [
        f"line {line}: {column} is {shown(text)!r}"
        for line, row, each in zip(lines, rows, values, strict=True)
        for column, text, value in zip(columns, row, each, strict=True)
        if not math.isfinite(value)
    ]
    if faults:
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise DataError(f"{shown(path)}: expected {expected}: {'; '.join(faults[:_LISTED])}{more}; mend these lines")


def _told(kind: str, names: tuple[str, ...], values: object) -> Targets:
    """Return the targets, and a note that says what was taken for what."""
    array = np.asarray(values, np.float32)
    note = f"targets: {len(names)} labels, any number of them an example: {_listed(names)}"
    if kind == "multi-label":
        bare = int((array.sum(1) == 0).sum())
        note += f"; {bare} examples have none" if bare else ""
        return Targets("multi-label", names, array, note)
    return Targets("regression", names, array, f"targets: numbers to predict: {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:10])) + (", ..." if len(names) > 10 else "")
