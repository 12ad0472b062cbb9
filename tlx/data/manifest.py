"""Read a manifest: a CSV, TSV or JSON-lines file with a picture and its class in each row."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from tlx.data.files import open_regular, shown
from tlx.data.layout import SPLIT_NAMES, Listed, build_parts
from tlx.data.source import Parts, Request
from tlx.data.validate import check_label_texts
from tlx.errors import DataError
from tlx.files import home

MAX_LINE = 1 << 20  # bytes
_LISTED = 10  # wrong lines named in an error
_COLUMNS = ("path", "label", "split", "sha256")
Row = tuple[int, dict[str, str]]


def read_manifest(request: Request) -> Parts:
    """Read rows of `path`, `label` and, if wanted, `split` and `sha256`, in UTF-8.

    A `.csv` or `.tsv` file has these names in its first line, a `.jsonl` file in each object. Paths are relative to the
    manifest. `split` is train (also where it is empty), validation or test, or as the request names them; where there
    is none, `load_data` splits. `sha256` is checked, and alone finds flipped bits. Other columns are ignored and
    noted. Raises `DataError` that lists the lines without a path or label, with an unknown split or with a picture that
    another line has in another class, and for pictures that cannot be decoded beyond `skip_bad`.
    """
    if not request.where:
        raise DataError("manifest: no file named; say manifest:FILE")
    path = str(home(request.where))
    folder = os.path.dirname(os.path.abspath(path))
    rows = list(_json_rows(path) if path.lower().endswith(".jsonl") else _csv_rows(path))
    asked = {name: part for part, name in request.splits().items()}
    splits = asked or {**SPLIT_NAMES, "": "train"}
    listed: dict[str, list[Listed]] = {}
    faults: list[str] = []
    classes: dict[str, tuple[str, int]] = {}
    unused: set[str] = set()
    for line, row in rows:
        unused |= row.keys() - set(_COLUMNS)
        picture, label = row.get("path", ""), row.get("label", "")
        split = row.get("split", "") if asked else row.get("split", "").strip().lower()
        other, before = classes.setdefault(picture, (label, line))
        if not picture or not label:
            faults.append(f"line {line} has no {'label' if picture else 'path'}")
        elif not re.fullmatch(r"[0-9a-fA-F]{64}|", row.get("sha256", "")):
            faults.append(f"line {line}: sha256 is not 64 hexadecimal digits")
        elif any("\ud800" <= letter <= "\udfff" for letter in label):
            faults.append(f"line {line}: the label {label!a} is no Unicode text")
        elif other != label:
            faults.append(f"line {line}: {shown(picture)} is {shown(label)!r}, and {shown(other)!r} in line {before}")
        elif split in splits:
            entry = Listed(os.path.join(folder, picture), label, f"{path} line {line}", row.get("sha256", ""))
            listed.setdefault(splits[split], []).append(entry)
        elif not asked:
            faults.append(f"line {line}: split {shown(split)!r} is none of train, validation and test")
    if faults:
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise DataError(f"{shown(path)}: {'; '.join(faults[:_LISTED])}{more}; mend these lines")
    every = [entry for entries in listed.values() for entry in entries]
    check_label_texts([entry.label for entry in every], lambda row: shown(every[row].place))
    for name, part in asked.items():
        if part not in listed:
            raise DataError(f"{shown(path)}: no line has the split {shown(name)!r}, which --{part}-split names")
    notes = [f"{shown(path)}: columns not used: {', '.join(map(shown, sorted(unused)))}"] if unused else []
    return build_parts(listed, request, notes)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Go through the lines of a UTF-8 file that are not empty, numbered from 1, each at most 1 MiB long."""
    with open_regular(path) as file:
        for number in range(1, 1 << 62):
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


def _csv_rows(path: str) -> Iterator[Row]:
    lines = (text for _, text in _lines(path))
    reader = csv.reader(lines, delimiter="\t" if path.lower().endswith(".tsv") else ",", strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        absent = [name for name in _COLUMNS[:2] if name not in header]
        if absent:
            raise DataError(
                f"{shown(path)}: its first line names no column {' and no '.join(absent)}; begin it with path,label"
            )
        if len(set(header)) != len(header):
            raise DataError(f"{shown(path)}: a column is named twice in its first line; rename one")
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise DataError(
                    f"{shown(path)}: line {reader.line_num} has {len(values)} values for {len(header)} columns; "
                    "quote values that hold a separator"
                )
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{shown(path)}: line {reader.line_num}: {error}; mend the line") from error


def _json_rows(path: str) -> Iterator[Row]:
    for number, text in _lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{shown(path)}: line {number} is not JSON; write one object a line") from error
        if not isinstance(row, dict):
            raise DataError(f"{shown(path)}: line {number} is no object; write {{'path': …, 'label': …}}")
        yield number, {name: _text(row[name], path, number, name) for name in row}


def _text(value: Any, path: str, line: int, name: str) -> str:
    if name not in _COLUMNS:
        return ""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{shown(path)}: line {line}: {name} is {value!r:.40}; give a text or a whole number")
