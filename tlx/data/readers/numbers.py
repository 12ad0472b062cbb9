"""Read a table of numbers: vectors that somebody else computed and their targets, in CSV, JSON lines or Parquet."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.readers.row_parts import rows_of_parts, targets_of_rows
from tlx.data.readers.table import Block, plain_name, read_blocks, text_of
from tlx.data.readers.targets import read_targets
from tlx.data.spec import DataSpec, Parts, Request
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.opening import MAX_UNPACKED, one_line, open_regular, shown

PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path"),
    *("image", "image_path", "image_file", "img", "img_path"),
)
TARGETS = ("class", "label", "target")  # the first of these that is there, where none is named
SPLITS = ("split", "part")
INDICES = ("", "id", "index", "row", "unnamed:_0")  # as pandas calls a column that had no name
_LISTED = 10


def names_vectors(path: str) -> bool:
    """Tell whether a table's rows are vectors themselves: it names no files of images, and has a column of numbers."""
    first = next(iter(read_blocks(path)), None)
    if first is None or {plain_name(name) for name in first.columns} & set(PATHS):
        return False
    return bool(_numeric(first, ()))


def read_numbers(request: Request) -> Parts:
    """Read a table whose rows are vectors: each row's numbers are the input, and a column or several the target.

    The inputs are the columns that the request's `inputs` name or match ("f*"), or else all that hold a number (or a
    list of numbers, in JSON lines and Parquet) in most of the first rows, but for the targets, splits, paths and
    indices. The target is what the request names, or else the first of class, label and target. `split` (or `part`) is
    train, validation or test, or as the request names them; where there is none, `load_data` splits.

    Args:
        request: the file and what of it is wanted.

    Returns:
        Sources of vectors (D,) float32, named by their path or line, and the names of the columns of the inputs.

    Raises:
        DataError: naming column and line, for what is no number, missing or not finite, and for unknown columns.
        ConfigError: for a Parquet file without pyarrow.
    """
    if not request.where:
        raise DataError("table: no file named; say table:FILE")
    path = str(home(request.where))
    place, spec = shown(path), request.spec
    roles: _Roles | None = None
    inputs: list[np.ndarray] = []
    lines: list[int] = []
    texts: list[list[str]] = []
    names: list[str] = []
    splits: list[str] = []
    for block in blocks_of(path):
        if roles is None:
            roles = _roles(block, spec, place)
        absent = [name for name in roles.used if name not in block.columns]
        if absent:
            raise DataError(f"{place}: line {block.lines[0]}: lacks the column {shown(absent[0])!r}; add it")
        inputs.append(_vectors(block, roles.inputs, place))
        lines += block.lines
        columns = [_texts(block, name, place) for name in roles.target]
        texts += [list(row) for row in zip(*columns, strict=True)]
        names += _texts(block, roles.path, place) if roles.path else [f"line {line}" for line in block.lines]
        splits += _texts(block, roles.split, place) if roles.split else [""] * len(block.lines)
    if roles is None:
        raise DataError(f"{place}: has no rows; give at least one")
    kind = "class" if not spec.target and spec.target_kind == "auto" else spec.target_kind
    targets = read_targets(path, roles.target, texts, lines, kind)
    rows = rows_of_parts(splits, lines, spec, place)
    if "train" not in rows:
        raise DataError(f"{place}: no row is of the training split; name it (--train-split)")
    numbers, classes, notes = targets_of_rows(targets, roles.target[0], texts, lines, rows, place)
    vectors = np.concatenate(inputs)
    sources = {
        part: ColumnSource(
            {"input": vectors[held], "target": numbers[held]},
            classes,
            targets.kind,
            [names[row] for row in held.tolist()],
        )
        for part, held in rows.items()
    }
    notes = [roles.note(vectors.shape[1]), *(note for note in notes if note)]
    return Parts(
        sources["train"], sources.get("test"), tuple(notes), sources.get("validation"), inputs=tuple(roles.inputs)
    )


def read_vectors(path: str, columns: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """Read the vectors of a table alone, whether it has targets or not.

    Args:
        path: the file.
        columns: the columns of the inputs; by default as `read_numbers` chooses them.

    Returns:
        The vectors (N, D) float32, and N names.

    Raises:
        DataError: as `read_numbers`.
    """
    place = shown(path)
    inputs, names, roles = [], [], None
    for block in blocks_of(path):
        roles = roles or _roles(block, DataSpec(inputs=tuple(columns)), place, targets=False)
        inputs.append(_vectors(block, roles.inputs, place))
        names += _texts(block, roles.path, place) if roles.path else [f"{path} line {line}" for line in block.lines]
    if not inputs:
        raise DataError(f"{place}: has no rows; give at least one")
    return np.concatenate(inputs), names


def blocks_of(path: str) -> Iterator[Block]:
    """Read all columns of a table, some rows at a time: Parquet by its suffix, else as `read_blocks` says."""
    return _parquet(path) if path.lower().endswith((".parquet", ".pq")) else read_blocks(path)


@dataclass(frozen=True)
class _Roles:
    """Which columns of a table are what."""

    inputs: tuple[str, ...]
    target: tuple[str, ...]
    split: str | None
    path: str | None
    unused: tuple[str, ...]
    place: str

    @property
    def used(self) -> list[str]:
        return [name for name in (*self.inputs, *self.target, self.split, self.path) if name is not None]

    def note(self, width: int) -> str:
        listed = ", ".join(map(shown, self.inputs[:3])) + (", ..." if len(self.inputs) > 3 else "")
        unused = f"; columns not used: {_listed(self.unused)}" if self.unused else ""
        numbers = "1 number" if width == 1 else f"{width} numbers"
        return f"{self.place}: inputs are vectors of {numbers} ({listed}){unused}"


def _roles(block: Block, spec: DataSpec, place: str, targets: bool = True) -> _Roles:
    names = list(block.columns)
    by_plain = {plain_name(name): name for name in reversed(names)}  # the first of those that look alike

    def first_of(candidates: Sequence[str]) -> str | None:
        return next((by_plain[each] for each in candidates if each in by_plain), None)

    def named(name: str) -> str:
        found = name if name in names else by_plain.get(plain_name(name))
        if found is None:
            raise DataError(f"{place}: has no column {shown(name)!r}; its columns are {_listed(names)}")
        return found

    default = first_of(TARGETS)
    target = tuple(map(named, spec.target)) or ((default,) if default else ())
    if targets and not target:
        raise DataError(
            f"{place}: names no column class, label or target: say which one is to be predicted (target); its "
            f"columns are {_listed(names)}"
        )
    inputs: list[str] = []
    for pattern in spec.inputs:
        found = [name for name in names if fnmatch.fnmatchcase(name, pattern)] if pattern not in names else [pattern]
        inputs += [name for name in found or [named(pattern)] if name not in inputs]
    if overlap := [name for name in inputs if targets and name in target]:
        raise ConfigError(f"inputs: {overlap[0]!r} is the target: leave one of the two out")
    inputs = inputs or _numeric(block, target)
    if not inputs:
        raise DataError(
            f"{place}: names no file of an image (a column path) and no column of numbers; its columns are "
            f"{_listed(names)}"
        )
    split, path = first_of(SPLITS), first_of(PATHS)
    used = {*inputs, *target, split, path}
    return _Roles(tuple(inputs), target, split, path, tuple(name for name in names if name not in used), place)


def _numeric(block: Block, target: Sequence[str]) -> list[str]:
    """Name the columns that hold numbers, in most of the first rows, and mean nothing else."""
    meant = (*TARGETS, *SPLITS, *PATHS, *INDICES)
    others = {name for name in block.columns if plain_name(name) in meant} | set(target)
    return [name for name, values in block.columns.items() if name not in others and are_numeric(values)]


def are_numeric(values: Sequence[Any]) -> bool:
    """Tell whether at least half of some values are numbers, or lists of such.

    >>> are_numeric(["1", "2.5", "x"]), are_numeric(["a", "b"])
    (True, False)
    """
    return 2 * sum(map(_is_numeric, values)) >= len(values) > 0


def _is_numeric(value: Any) -> bool:
    if isinstance(value, str):
        return _float(value) is not None
    return isinstance(value, int | float | np.number | np.ndarray | list) and not isinstance(value, bool)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _vectors(block: Block, names: Sequence[str], place: str) -> np.ndarray:
    """Return the numbers of some columns, (B, D) float32; raise `DataError` naming the first that is none."""
    parts = [_numbers(block, name, place) for name in names]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _numbers(block: Block, name: str, place: str) -> np.ndarray:
    values = block.columns[name]
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim not in (1, 2) or not (np.abs(array) <= np.finfo(np.float32).max).all():
        _refuse(block, name, place)
        raise DataError(f"{place}: the column {shown(name)!r} holds lists of different lengths; give all as many")
    return array[:, None] if array.ndim == 1 else array


def _refuse(block: Block, name: str, place: str) -> None:
    """Raise `DataError` for the first value of a column that is no number, or no list of numbers."""
    for line, value in zip(block.lines, block.columns[name], strict=True):
        empty = value is None or (isinstance(value, str) and not value.strip())
        try:
            good = not empty and (np.abs(np.asarray(value, np.float64)) <= np.finfo(np.float32).max).all()
        except (TypeError, ValueError):
            good = False
        if not good:
            what = "empty" if empty else f"{value!r:.40}, no finite number of float32"
            raise DataError(
                f"{place}: line {line}: the column {shown(name)!r} is {what}; mend it, or choose other columns as "
                "inputs"
            )


def _texts(block: Block, name: str, place: str) -> list[str]:
    values = block.columns[name]
    values_list = values.tolist() if isinstance(values, np.ndarray) else values
    return [
        text_of(value, f"{place}: line {line}: {shown(name)}", lists=True).strip()
        for line, value in zip(block.lines, values_list, strict=True)
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) or "(no name)" for name in names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _parquet(path: str) -> Iterator[Block]:
    """Read a Parquet file by pyarrow: columns of numbers as arrays, lists of numbers as (B, D), the rest as lists."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"{shown(path)}: needs pyarrow ({error}); pip install 'tlx-jax[parquet]', or give .npz or .csv"
        ) from error
    with open_regular(path) as file:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            groups = (table.metadata.row_group(i) for i in range(table.metadata.num_row_groups))
            if (size := sum(group.total_byte_size for group in groups)) > MAX_UNPACKED:
                raise DataError(
                    f"{shown(path)}: unpacks to {size:,} bytes, more than {MAX_UNPACKED:,}; give it in parts"
                )
            line = 1
            for batch in table.iter_batches(16_384):
                columns = {name: _column(batch.column(name)) for name in batch.schema.names}
                yield Block(list(range(line, line + len(batch))), columns)
                line += len(batch)
        except DataError:
            raise
        except Exception as error:  # Arrow's own, and Python's for texts and times that are none
            raise DataError(f"{shown(path)}: no Parquet file that can be read ({one_line(error)})") from error


def _column(values: Any) -> Any:
    import pyarrow

    kind = values.type
    numeric = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)
    if numeric and not values.null_count:
        return values.to_numpy(zero_copy_only=False)
    of_lists = (
        pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)
    )
    if of_lists and not values.null_count and len(values):
        flat = values.flatten()
        numbers = pyarrow.types.is_integer(flat.type) or pyarrow.types.is_floating(flat.type)
        if numbers and not flat.null_count and len(flat) % len(values) == 0:
            width = len(flat) // len(values)
            lengths = values.value_lengths().to_numpy() if hasattr(values, "value_lengths") else None
            if lengths is None or (lengths == width).all():
                return flat.to_numpy(zero_copy_only=False).reshape(len(values), width)
    return values.to_pylist()
