"""Vectors without targets, to predict from: files of them, and arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.inputs import Vectors
from tlx.data.readers.npz import read_npz
from tlx.data.readers.numbers import read_vectors
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import open_regular, shown
from tlx.files.true_type import true_type


def vector_files(paths: Iterable[str], spec: Vectors) -> ColumnSource:
    """Read the vectors of files: tables (.csv, .tsv, .jsonl, .parquet), or .npz with `features` or a single matrix.

    Args:
        paths: the files.
        spec: what the model takes; its `columns` are those of a table that are read.

    Returns:
        A source without targets, whose `names` are the paths in the table's own column of paths, or file and line.

    Raises:
        DataError: for no files, and for files that hold something else, naming file and line.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".csv") as file:
    ...     _ = file.write(b"a,b\\n1,2\\n3,4\\n")
    ...     file.flush()
    ...     source = vector_files([file.name], Vectors(2))
    >>> len(source), source[1]["input"].tolist(), source.names[1].endswith(".csv line 3")
    (2, [3.0, 4.0], True)
    """
    parts: list[np.ndarray] = []
    names: list[str] = []
    for path in map(str, map(home, paths)):
        with open_regular(path) as file:
            kind = true_type(file.read(132))
        if kind.endswith(" image"):
            raise DataError(f"{shown(path)}: {kind}, and the model takes vectors: name a table or an .npz file")
        vectors, own = _of_npz(path) if path.lower().endswith(".npz") else read_vectors(path, spec.columns)
        if vectors.shape[1] != spec.size:
            raise DataError(f"{shown(path)}: vectors of {vectors.shape[1]} numbers, and the model takes {spec.size}")
        parts.append(vectors)
        names += own
    if not parts:
        raise DataError("no vectors; name a table or an .npz file")
    return ColumnSource({"input": np.concatenate(parts)}, names=names)


def vector_array(array: Any, spec: Vectors) -> ColumnSource:
    """Return an array of vectors (N, D), or of one (D,), as a source without targets.

    >>> len(vector_array([0.5, 1.0], Vectors(2)))
    1
    """
    values = np.asarray(array)
    return ColumnSource({"input": spec.collate(values[None] if values.ndim == 1 else values)})


def _of_npz(path: str) -> tuple[np.ndarray, list[str]]:
    arrays, _ = read_npz(path)
    matrices = {name: array for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "biuf"}
    if "features" not in matrices and len(matrices) != 1:
        held = ", ".join(map(shown, arrays)) or "nothing"
        raise DataError(f"{shown(path)}: holds {held}; expected `features`, or a single matrix (N, D) of numbers")
    vectors = matrices.get("features", next(iter(matrices.values())))
    own = arrays.get("paths")
    named = own is not None and own.dtype.kind == "U" and own.shape == vectors.shape[:1]
    names = own.tolist() if named and own is not None else [f"{path}#{row}" for row in range(len(vectors))]
    return vectors.astype(np.float32), names
