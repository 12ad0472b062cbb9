"""Texts without targets, to predict from: files of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from tlx.data.arrays import ColumnSource
from tlx.data.bad import some
from tlx.data.readers.text_columns import find_columns
from tlx.data.readers.text_table import read_text_table
from tlx.data.readers.texts import read_lines, rows_of, text_source
from tlx.data.text_arrays import text_fault
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import shown


class TextFiles(ColumnSource):
    """Texts of files, without targets; `notes` say which columns were read, and how many empty lines were left out."""

    notes: tuple[str, ...] = ()


def text_files(paths: Iterable[str | os.PathLike[str]], columns: Sequence[str] = ()) -> TextFiles:
    """Read the texts of files: `.txt`, one text a line, and tables (.csv, .tsv, .jsonl, .parquet) with such a column.

    A line of `.jsonl` is an object or a text alone.

    Args:
        paths: the files.
        columns: the column of a table's texts, or both of pairs, by name, or by number from 1 where the table has no
            header; by default as `load_data` finds them. A `.txt` file is a table where they are named.

    Returns:
        A source without targets, whose `names` are file and line. Empty lines of a `.txt` file are left out and counted
        in its `notes`.

    Raises:
        DataError: for no files, for files that hold something else, naming file and line, for empty texts of tables,
            and for texts beside pairs.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".csv") as file:
    ...     _ = file.write(b"text,label\\na film,1\\nno film,0\\n")
    ...     file.flush()
    ...     source = text_files([file.name])
    >>> len(source), source[1]["input"], source.names[1].endswith(".csv line 3")
    (2, 'no film', True)
    """
    texts: list[tuple[str, ...]] = []
    names: list[str] = []
    notes: list[str] = []
    for path in map(str, map(home, paths)):
        own, own_names, own_notes = _read(path, columns)
        if texts and len(own[0]) != len(texts[0]):
            raise DataError(f"{shown(path)}: texts and pairs of texts do not go together; name files of one kind")
        texts, names, notes = [*texts, *own], [*names, *own_names], [*notes, *own_notes]
    if not texts:
        raise DataError("no texts; name a .txt file or a table")
    source = TextFiles(text_source(texts).columns, names=names)
    source.notes = tuple(notes)
    return source


def _read(path: str, columns: Sequence[str]) -> tuple[list[tuple[str, ...]], list[str], list[str]]:
    """Return the texts of a file, what they are called, and notes."""
    if path.lower().endswith(".txt") and not columns:
        texts, lines, empty = read_lines(path)
        notes = [f"{shown(path)}: {empty} empty lines are left out"] if empty else []
        return [(text,) for text in texts], [f"{path} line {line}" for line in lines], notes
    table = read_text_table(path, columns)
    if not table.lines:
        raise DataError(f"{shown(path)}: has no rows; give at least one")
    found = find_columns(shown(path), table.columns, table.headed, columns, needs_target=False)
    rows = rows_of(table, found._replace(target=()), path)
    faults = [*table.faults]
    for name, each in zip(rows.names, rows.texts, strict=True):
        if fault := next((fault for text in each if (fault := text_fault(text)) is not None), None):
            faults.append(f"{shown(name)}: its text {fault}")
    if faults:
        total = len(rows.texts) + len(table.faults)
        raise DataError(f"{len(faults)} of {total} texts are bad: {some(faults)}; mend these lines")
    return rows.texts, rows.names, [found.note]
