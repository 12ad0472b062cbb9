"""Read the rows of a table, CSV by any common separator or JSON lines, each with the number of its line."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from tlx.errors import DataError
from tlx.files.opening import open_regular, shown

MAX_LINE = 1 << 20  # bytes
MAX_RECODED = 1 << 28  # bytes of a UTF-16 file, which is recoded at once
_SEPARATORS = (",", ";", "\t", "|")
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


def _read_csv(path: str, columns: Mapping[str, Sequence[str]], required: Sequence[str]) -> Table:
    lines = _lines(path)
    first = next(((number, text) for number, text in lines if text.strip()), (1, ""))
    if first[1].strip().lower() in {f"sep={separator}" for separator in _SEPARATORS}:  # what Excel writes and wants
        first = next(lines, first)
    separator, names = _header(path, first[1], columns)
    places = _places(path, names, columns)
    if absent := [name for name in required if name not in places]:
        raise DataError(
            f"{shown(path)}: its first line names no column {' and no '.join(absent)}; begin it with "
            f"{','.join(required)}"
        )
    at = first[0]

    def texts() -> Iterator[str]:
        nonlocal at
        for number, text in itertools.chain([first], lines):
            at = number
            yield text

    reader = csv.reader(texts(), delimiter=separator, skipinitialspace=True, strict=True)
    rows, width, used = [], len(names), list(places.items())
    try:
        next(reader, None)
        for values in reader:
            if not values:
                continue
            if len(values) != width:
                raise DataError(
                    f"{shown(path)}: line {at} has {len(values)} values for {width} columns; quote values that hold a "
                    "separator"
                )
            rows.append((at, {name: values[place] for name, place in used}))
    except csv.Error as error:
        raise DataError(f"{shown(path)}: line {at}: {error}; mend the line") from error
    return Table(rows, _notes(path, names, places))


def _header(path: str, line: str, columns: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """Find the separator by which the first line names the most of the columns; return it and all names."""
    best: tuple[int, str, list[str]] = (0, ",", [])
    for separator in _SEPARATORS:
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=separator, strict=True), [])]
        except csv.Error:
            continue
        plain = set(map(_plain, names))
        score = sum(bool(plain & {name, *others}) for name, others in columns.items())
        best = max(best, (score, separator, names), key=lambda each: each[0])
    return best[1], best[2]


def _places(path: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return at which place of a row each column stands that is there."""
    plain = list(map(_plain, names))
    places: dict[str, int] = {}
    for name, others in columns.items():
        found = [other for other in (name, *others) if other in plain]
        if not found:
            continue
        if name not in found and len(found) > 1:
            named = " and ".join(repr(names[plain.index(other)]) for other in found)
            raise DataError(f"{shown(path)}: of the columns {named}, which is the {name}? Call it {name}")
        if plain.count(found[0]) > 1:
            raise DataError(f"{shown(path)}: a column is named twice in its first line, {found[0]}; rename one")
        places[name] = plain.index(found[0])
    return places


def _notes(path: str, names: Sequence[str], places: Mapping[str, int]) -> list[str]:
    taken = [f"{shown(names[place])!r} is taken for the {name}" for name, place in places.items()]
    taken = [text for text, (name, place) in zip(taken, places.items(), strict=True) if _plain(names[place]) != name]
    unused = sorted({name or "(no name)" for place, name in enumerate(names) if place not in places.values()})
    notes = [f"{shown(path)}: the column {', '.join(taken)}"] if taken else []
    return notes + ([f"{shown(path)}: columns not used: {', '.join(map(shown, unused))}"] if unused else [])


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _read_objects(path: str, columns: Mapping[str, Sequence[str]]) -> Table:
    rows: list[tuple[int, dict[str, str]]] = []
    known: dict[tuple[str, ...], dict[str, int]] = {}  # by the names of an object, of which most have the same
    for number, text in _lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown(path)}: line {number} is not JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise DataError(f"{shown(path)}: line {number} is no object; write {{'path': …, 'label': …}}")
        names = tuple(row)
        if names not in known:
            known[names] = _places(path, names, columns)
        values = list(row.values())
        rows.append((number, {name: _text(values[at], path, number, name) for name, at in known[names].items()}))
    notes = (note for names, places in known.items() for note in _notes(path, names, places))
    return Table(rows, list(dict.fromkeys(notes)))


def _text(value: Any, path: str, line: int, name: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{shown(path)}: line {line}: {name} is {value!r:.40}; give a text or a whole number")


def _lines(path: str) -> Iterator[tuple[int, str]]:
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
                raise DataError(f"{shown(path)}: line {number} is longer than {MAX_LINE:,} bytes; is it a manifest?")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{shown(path)}: line {number} is not UTF-8; save the file as UTF-8") from error
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
