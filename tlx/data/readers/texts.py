"""Read a table of texts, or of pairs of texts, and what is to be predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.bad import check_bad, left_out
from tlx.data.readers.numbers import INDICES, PATHS, are_numeric
from tlx.data.readers.row_parts import rows_of_parts, targets_of_rows
from tlx.data.readers.table import lines_of, plain_name, text_of
from tlx.data.readers.targets import read_targets
from tlx.data.readers.text_columns import TextColumns, find_columns, is_prose
from tlx.data.readers.text_table import TextTable, read_text_table
from tlx.data.source import TargetKind
from tlx.data.spec import DataSpec, Parts, Request
from tlx.data.text_arrays import text_column, text_fault
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import shown

_LOOKED_AT = 256  # lines that tell whether a table is one of texts


class Rows(NamedTuple):
    """Rows of a table: texts (one, or two of a pair), the texts of their targets and splits, what they are called, and
    their lines.
    """

    texts: list[tuple[str, ...]]
    targets: list[list[str]]
    splits: list[str]
    names: list[str]
    lines: list[int]

    def only(self, rows: Sequence[int]) -> Rows:
        """Return some of the rows."""
        texts, targets = [self.texts[row] for row in rows], [self.targets[row] for row in rows]
        splits, names = [self.splits[row] for row in rows], [self.names[row] for row in rows]
        return Rows(texts, targets, splits, names, [self.lines[row] for row in rows])


def read_texts(request: Request) -> Parts:
    """Read a table of texts: the columns and targets as `find_columns` and `read_targets` say; or a `.txt` file.

    A `.txt` file of which no columns are named is one text a line, without targets; its empty lines are left out. Rows
    without a text or a label, or with more or fewer values than the table has columns, are bad: more than `skip_bad`
    are refused, with their lines. `split` (or `part`) is train, validation or test, or as the request names them.

    Args:
        request: the file and what of it is wanted.

    Returns:
        Sources of texts, or of pairs, called "FILE line N"; and the columns that were read.

    Raises:
        DataError: naming the line, for what is no text in UTF-8 or UTF-16, and for columns that are not there.
    """
    if not request.where:
        raise DataError("texts: no file named; say texts:FILE")
    path, spec = str(home(request.where)), request.spec
    if path.lower().endswith(".txt") and not spec.text and not spec.target:
        return _of_lines(path)
    table = read_text_table(path, (*spec.text, *spec.target))
    if not table.lines:
        raise DataError(f"{shown(path)}: has no rows; give at least one")
    found = find_columns(shown(path), table.columns, table.headed, spec.text, spec.target)
    return parts_of_rows(rows_of(table, found, path), found, spec, path, table.faults)


def rows_of(table: TextTable, found: TextColumns, path: str) -> Rows:
    """Take the columns that were found out of a table.

    >>> table = TextTable({"a": ["0"], "b": [" a film "]}, [2], True, [])
    >>> rows_of(table, TextColumns(("b",), ("a",), None, ""), "a.csv")[:2]
    ([('a film',)], [['0']])
    """
    place = shown(path)

    def texts(name: str) -> list[str]:
        return [
            text_of(value, f"{place}: line {line}: {shown(name)}", lists=True).strip()
            for line, value in zip(table.lines, table.columns[name], strict=True)
        ]

    inputs = list(zip(*map(texts, found.text), strict=True))
    targets = list(map(list, zip(*map(texts, found.target), strict=True))) if found.target else [[] for _ in inputs]
    splits = texts(found.split) if found.split else [""] * len(inputs)
    return Rows(inputs, targets, splits, [f"{path} line {line}" for line in table.lines], table.lines)


def parts_of_rows(
    rows: Rows,
    found: TextColumns,
    spec: DataSpec,
    path: str,
    faults: Sequence[str] = (),
    classes: tuple[str, ...] = (),
) -> Parts:
    """Make the parts of a run of the rows of a table, without those that are bad.

    Args:
        rows: the rows.
        found: what their columns are.
        spec: how targets and splits are named, and the share that may be bad.
        path: the table, for errors.
        faults: what is bad beside the rows.
        classes: the names of the classes, where their order is known.
    """
    place = shown(path)
    kind = "class" if not spec.target and spec.target_kind == "auto" else spec.target_kind
    label = _needed_label(rows, found, path, kind)
    every, good = [*faults], []
    for row in range(len(rows.texts)):
        fault = _fault(rows, row, found, label)
        if fault is None:
            good.append(row)
        else:
            every.append(f"{shown(rows.names[row])} {fault}")
    total = len(rows.texts) + len(faults)
    check_bad(every, total, spec.skip_bad, "texts")
    rows = rows.only(good)
    targets = read_targets(path, found.target, rows.targets, rows.lines, kind)
    held = rows_of_parts(rows.splits, rows.lines, spec, place)
    if "train" not in held:
        raise DataError(f"{place}: no row is of the training split; name it (--train-split)")
    numbers, names, notes = targets_of_rows(
        targets, found.target[0], rows.targets, rows.lines, held, place, classes if targets.kind == "class" else ()
    )
    sources = {
        part: text_source(
            [rows.texts[row] for row in at], numbers[at], names, targets.kind, [rows.names[r] for r in at]
        )
        for part, at in held.items()
    }
    told = [found.note, *left_out(every, total, "texts"), *(note for note in notes if note)]
    return Parts(
        sources["train"],
        sources.get("test"),
        tuple(told),
        sources.get("validation"),
        tuple(every),
        text=found.text,
        target=found.target,
    )


def text_source(
    texts: Sequence[tuple[str, ...]],
    targets: np.ndarray | None = None,
    classes: Sequence[str] = (),
    kind: TargetKind = "class",
    names: Sequence[str] | None = None,
) -> ColumnSource:
    """Hold texts (each one, or two of a pair) that were looked at, and their targets.

    >>> text_source([("a film",), ("no film",)], np.array([1, 0]), ("bad", "good"))
    ColumnSource(2 examples, 2 classes: 'bad', 'good')
    """
    columns: dict[str, Any] = {"input": text_column(list(zip(*texts, strict=True)))}
    return ColumnSource(columns if targets is None else {**columns, "target": targets}, classes, kind, names)


def read_lines(path: str) -> tuple[list[str], list[int], int]:
    """Read the lines of a text file, one text each.

    Returns:
        The texts, the number of each one's line, and how many lines are empty.

    Raises:
        DataError: for a file without a text, and naming the line where it is no text.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = file.write(b"a film\\n\\nno film\\n")
    ...     file.flush()
    ...     read_lines(file.name)
    (['a film', 'no film'], [1, 3], 1)
    """
    every = [(number, text.strip()) for number, text in lines_of(path)]
    texts = [(number, text) for number, text in every if text]
    if not texts:
        raise DataError(f"{shown(path)}: holds no text; give one a line")
    return [text for _, text in texts], [number for number, _ in texts], len(every) - len(texts)


def _of_lines(path: str) -> Parts:
    texts, lines, empty = read_lines(path)
    notes = [f"{shown(path)}: one text a line, and no targets"]
    notes += [f"{shown(path)}: {empty} empty lines are left out"] if empty else []
    if all("\t" in text for text in texts):
        notes.append(f"{shown(path)}: every line has a tab; name its columns (--text, --target) to read it as a table")
    source = text_source([(text,) for text in texts], names=[f"{path} line {line}" for line in lines])
    return Parts(source, None, tuple(notes))


def names_texts(path: str, target: Sequence[str] = ()) -> bool:
    """Tell whether a table holds texts: a column of prose, and neither one of images' paths nor one of numbers.

    Args:
        path: the file.
        target: the columns that are to be predicted, which may hold numbers.
    """
    table = read_text_table(path, target, most=_LOOKED_AT)
    if not any(is_prose(values) for values in table.columns.values()):
        return False
    if not table.headed:  # which only texts go without
        return True
    if set(map(plain_name, table.columns)) & set(PATHS):
        return False
    found = find_columns(shown(path), table.columns, True, needs_target=False)
    others = [name for name in table.columns if name not in (*found.text, *found.target, found.split)]
    meant = {*INDICES, *map(plain_name, target)}
    return not any(are_numeric(table.columns[name]) for name in others if plain_name(name) not in meant)


def _needed_label(rows: Rows, found: TextColumns, path: str, kind: str) -> str | None:
    """Return the column of targets that no row may leave empty, or None: of several labels none may apply."""
    if len(found.target) > 1:
        return None  # `read_targets` names what is missing
    labelled = [row for row, each in enumerate(rows.targets) if not _is_missing(each[0])]
    if kind == "auto" and 0 < len(labelled) < len(rows.targets):
        some_targets, lines = [rows.targets[row] for row in labelled], [rows.lines[row] for row in labelled]
        kind = read_targets(path, found.target, some_targets, lines).kind
    return None if kind == "multi-label" else found.target[0]


def _fault(rows: Rows, row: int, found: TextColumns, label: str | None) -> str | None:
    """Say what is wrong with a row, or return None."""
    for name, text in zip(found.text, rows.texts[row], strict=True):
        if (fault := text_fault(text)) is not None:
            return f"has no text ({_column(name)})" if fault == "is empty" else fault
        if _is_missing(text):
            return f"has no text ({_column(name)} is {text!r})"
    return f"has no label ({_column(label)})" if label is not None and _is_missing(rows.targets[row][0]) else None


def _is_missing(value: str) -> bool:
    """Tell whether a value is empty, or what programs write for one that is not there."""
    return value.lower() in ("", "nan", "<na>", "#n/a")


def _column(name: str) -> str:
    return f"column {shown(name)}"
