"""Texts without targets, to predict from: files of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.readers.text_table import read_text_table, text_roles
from tlx.data.readers.texts import read_lines
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import open_regular, shown
from tlx.files.true_type import true_type


def text_files(paths: Iterable[str], columns: Sequence[str] = ()) -> ColumnSource:
    """Read the texts of files: a text a line (.txt), or tables (.csv, .tsv, .jsonl, .parquet).

    Args:
        paths: the files.
        columns: the columns of tables that hold the texts, two of pairs; by default those that look so.

    Returns:
        A source without targets, whose `names` are file and line.

    Raises:
        DataError: for no files, and for files that hold something else, naming file and line.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".txt") as file:
    ...     _ = file.write(b"A good film.\\n\\nA bad one.\\n")
    ...     file.flush()
    ...     source = text_files([file.name])
    >>> len(source), source[1]["input"], source.names[1].endswith(".txt line 3")
    (2, 'A bad one.', True)
    """
    texts: list[list[str]] = []
    names: list[str] = []
    for path in map(str, map(home, paths)):
        with open_regular(path) as file:
            kind = true_type(file.read(132))
        if kind.endswith(" image"):
            raise DataError(f"{shown(path)}: {kind}, and the model takes texts: name a .txt file or a table")
        if path.lower().endswith(".txt"):
            lines, own, _ = read_lines(path)
            texts += [[text] for text in own]
        else:
            table = read_text_table(path)
            found = text_roles(table, columns, labelled=False)
            own_columns = [table.column(name) for name in found.text]
            empty = next(
                (at for at, row in enumerate(zip(*own_columns, strict=True)) if not all(map(str.strip, row))), None
            )
            if empty is not None:
                raise DataError(f"{shown(path)}: line {table.lines[empty]} has no text; add it or take the line out")
            texts += [[text.strip() for text in row] for row in zip(*own_columns, strict=True)]
            lines = table.lines
        names += [f"{path} line {line}" for line in lines]
    if not texts:
        raise DataError("no texts; name a .txt file or a table")
    if len({len(each) for each in texts}) > 1:
        raise DataError("texts: some files hold pairs and others single texts; name the columns (--text)")
    first = np.array([each[0] for each in texts], object)
    if len(texts[0]) == 1:
        return ColumnSource({"input": first}, names=names)
    return ColumnSource({"input": {"text": first, "pair": np.array([each[1] for each in texts], object)}}, names=names)
