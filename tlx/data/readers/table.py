"""Read the rows of a table, CSV by any common separator or JSON lines, each with the number of its line."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from tlx.errors import DataError
from tlx.files.opening import open_regular, shown

MAX_LINE = 1 << 20  # bytes
MAX_RECODED = 1 << 28  # bytes of a UTF-16 file, which is recoded at once
SEPARATORS = (",", ";", "\t", "|")
_SINGLE = ("path", "split", "sha256")  # what is no list
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Table(NamedTuple):
    """`rows` are pairs of a line number and the texts of the columns; `notes` say what was taken for what."""

    rows: list[tuple[int, dict[str, str]]]
    notes: list[str]


def read_table(path: str, columns: Mapping[str, Sequence[str]], required: Sequence[str]) -> Table:
    """Read a `.jsonl` file of one object a line, or any other file as CSV, in UTF-8 or UTF-16.

    A CSV file names its columns in its first line, separated by commas, semicolons, tabs or bars as its rows are. Case
    does not count in names; `notes` tell of other names that were taken, and of columns that are not used.

    Args:
        path: the file.
        columns: the names of what is read, each with others that are taken where it is absent.
        required: which of them a CSV file must have; an object may lack any.

    Raises:
        DataError: naming the line, for what is no such table.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".csv") as file:
    ...     _ = file.write(b"Filename;label\\na.png;cat\\n")
    ...     file.flush()
    ...     read_table(file.name, {"path": ("filename",), "label": ()}, ("path", "label")).rows
    [(2, {'path': 'a.png', 'label': 'cat'})]
    """
    if path.lower().endswith(".jsonl"):
        return _read_objects(path, columns)
    return _read_csv(path, columns, required)


class Block(NamedTuple):
    """Some rows of a table: the number of each one's line, and the values of each column, by name."""

    lines: list[int]
    columns: dict[str, Any]


def read_blocks(path: str, size: int = 1024) -> Iterator[Block]:
    """Read all columns of a `.jsonl` file or of a CSV file, `size` rows at a time.

    Args:
        path: the file, as `read_table` takes it; the separator is that which makes the most columns of the first line.
        size: how many rows a block has at most.

    Returns:
        Blocks whose columns are lists: of texts from CSV, of whatever JSON has from objects (None for what one lacks).

    Raises:
        DataError: naming the line, for what is no such table.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".csv") as file:
    ...     _ = file.write(b"height,label\\n1.5,cat\\n")
    ...     file.flush()
    ...     next(read_blocks(file.name))
    Block(lines=[2], columns={'height': ['1.5'], 'label': ['cat']})
    """
    rows = objects_of(path) if path.lower().endswith(".jsonl") else _records(path)
    while several := list(itertools.islice(rows, size)):
        names = dict.fromkeys(name for _, row in several for name in row)
        yield Block([line for line, _ in several], {name: [row.get(name) for _, row in several] for name in names})


def _records(path: str) -> Iterator[tuple[int, dict[str, str]]]:
    _, names, rows = _open_csv(path, {})
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{shown(path)}: a column is named twice in its first line, {shown(twice)}; rename one")
    for line, values in rows:
        yield line, dict(zip(names, values, strict=True))


def _read_csv(path: str, columns: Mapping[str, Sequence[str]], required: Sequence[str]) -> Table:
    places, names, rows = _open_csv(path, columns)
    if absent := [name for name in required if name not in places]:
        raise DataError(
            f"{shown(path)}: its first line names no column {' and no '.join(absent)}; begin it with "
            f"{','.join(required)}"
        )
    used = list(places.items())
    found = [(line, {name: values[place] for name, place in used}) for line, values in rows]
    return Table(found, _notes(path, names, places))


def _open_csv(
    path: str, columns: Mapping[str, Sequence[str]]
) -> tuple[dict[str, int], list[str], Iterator[tuple[int, list[str]]]]:
    """Return where the columns stand, the names of all, and the rows below them with the numbers of their lines."""
    lines = lines_of(path)
    first = next(((number, text) for number, text in lines if text.strip()), (1, ""))
    if first[1].strip().lower() in {f"sep={separator}" for separator in SEPARATORS}:  # what Excel writes and wants
        first = next(lines, first)
    separator, names = _header(path, first[1], columns)
    places, at = _places(path, names, columns), first[0]

    def texts() -> Iterator[str]:
        nonlocal at
        for number, text in itertools.chain([first], lines):
            at = number
            yield text

    def rows() -> Iterator[tuple[int, list[str]]]:
        reader, width = csv.reader(texts(), delimiter=separator, skipinitialspace=True, strict=True), len(names)
        try:
            next(reader, None)
            for values in reader:
                if not values:
                    continue
                if len(values) != width:
                    raise DataError(
                        f"{shown(path)}: line {at} has {len(values)} values for {width} columns; quote values that "
                        "hold a separator"
                    )
                yield at, values
        except csv.Error as error:
            raise DataError(f"{shown(path)}: line {at}: {error}; mend the line") from error

    return places, names, rows()


def _header(path: str, line: str, columns: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """Find the separator by which the first line names the most of the columns; return it and all names.

    Without columns to look for it is the one that makes the most names.
    """
    best: tuple[int, str, list[str]] = (0, ",", [])
    for separator in SEPARATORS:
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=separator, strict=True), [])]
        except csv.Error:
            continue
        plain = set(map(plain_name, names))
        score = sum(bool(plain & {name, *others}) for name, others in columns.items()) if columns else len(names)
        best = max(best, (score, separator, names), key=lambda each: each[0])
    return best[1], best[2]


def _places(path: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return at which place of a row each column stands that is there."""
    plain = list(map(plain_name, names))
    places: dict[str, int] = {}
    for name, others in columns.items():
        found = [other for other in map(plain_name, (name, *others)) if other in plain]
        if not found:
            continue
        if plain_name(name) not in found and len(found) > 1:
            named = " and ".join(repr(names[plain.index(other)]) for other in found)
            raise DataError(f"{shown(path)}: of the columns {named}, which is the {name}? Call it {name}")
        if plain.count(found[0]) > 1:
            raise DataError(f"{shown(path)}: a column is named twice in its first line, {found[0]}; rename one")
        places[name] = plain.index(found[0])
    return places


def _notes(path: str, names: Sequence[str], places: Mapping[str, int]) -> list[str]:
    taken = [f"{shown(names[place])!r} is taken for the {name}" for name, place in places.items()]
    taken = [
        text for text, (name, place) in zip(taken, places.items(), strict=True) if plain_name(names[place]) != name
    ]
    unused = sorted({name or "(no name)" for place, name in enumerate(names) if place not in places.values()})
    notes = [f"{shown(path)}: the column {', '.join(taken)}"] if taken else []
    return notes + ([f"{shown(path)}: columns not used: {', '.join(map(shown, unused))}"] if unused else [])


def plain_name(name: str) -> str:
    """Write the name of a column as it is compared: in lower case, blanks and hyphens as underscores."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def objects_of(path: str, bare_texts: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Go through the objects of a `.jsonl` file, each with the number of its line.

    With `bare_texts`, a line that is a text alone counts as an object with a `text`.
    """
    for number, text in lines_of(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown(path)}: line {number} is not JSON; write one object a line") from error
        if bare_texts and isinstance(row, str):
            row = {"text": row}
        if not isinstance(row, dict):
            raise DataError(f"{shown(path)}: line {number} is no object; write {{'path': …, 'label': …}}")
        yield number, row


def _read_objects(path: str, columns: Mapping[str, Sequence[str]]) -> Table:
    rows: list[tuple[int, dict[str, str]]] = []
    known: dict[tuple[str, ...], dict[str, int]] = {}  # by the names of an object, of which most have the same
    for number, row in objects_of(path):
        names = tuple(row)
        if names not in known:
            known[names] = _places(path, names, columns)
        values = list(row.values())
        texts = {
            name: text_of(values[at], f"{shown(path)}: line {number}: {name}", name not in _SINGLE)
            for name, at in known[names].items()
        }
        rows.append((number, texts))
    notes = (note for names, places in known.items() for note in _notes(path, names, places))
    return Table(rows, list(dict.fromkeys(notes)))


def text_of(value: Any, place: str, lists: bool = False) -> str:
    """Write a value of JSON as the text that a CSV file would have in its place; with `lists`, labels between bars.

    Raise `DataError` that begins with `place` for an object, and for a list of other things than texts and numbers.

    >>> text_of(math.nan, "a"), text_of(1.5, "a"), text_of(True, "a"), text_of(["red", "blue"], "a", lists=True)
    ('', '1.5', 'true', 'red|blue')
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN, as pandas writes what is missing
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if lists and isinstance(value, list) and all(isinstance(each, str | int) for each in value):
        return "|".join(map(str, value))
    raise DataError(f"{place} is {value!r:.40}; give a text or a number{' or a list of labels' if lists else ''}")


def lines_of(path: str) -> Iterator[tuple[int, str]]:
    """Go through the lines of a text file, numbered from 1, each at most 1 MiB long."""
    with open_regular(path) as opened:
        file: BinaryIO = opened
        if opened.read(2) in _UTF16:
            file = _recoded(opened, path)
        file.seek(0)
        for number in itertools.count(1):
            line = file.readline(MAX_LINE + 1)
            if not line:
                return
            if len(line) > MAX_LINE:
                raise DataError(f"{shown(path)}: line {number} is longer than {MAX_LINE:,} bytes; is it a table?")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{shown(path)}: line {number} is not UTF-8; save the file as UTF-8 (one from Windows: iconv -f "
                    "WINDOWS-1252 -t UTF-8)"
                ) from error
            if "\0" in text:
                raise DataError(f"{shown(path)}: line {number} has a NUL character; save the file as UTF-8 text")
            yield number, text


def _recoded(file: BinaryIO, path: str) -> BinaryIO:
    """Return a UTF-16 file, as Excel's "Unicode text" is, in UTF-8."""
    file.seek(0)
    content = file.read(MAX_RECODED + 1)
    if len(content) > MAX_RECODED:
        raise DataError(f"{shown(path)}: UTF-16, and over {MAX_RECODED >> 20} MiB; save the file as UTF-8")
    try:
        return io.BytesIO(content.decode("utf-16").encode("utf-8"))
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content[:start].decode("utf-16", "replace").count("\n") + 1
        raise DataError(f"{shown(path)}: line {line} is not UTF-16; save the file as UTF-8") from error
