"""Read texts and their labels: tables, folders of .txt files by class, plain lines."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tlx.data.arrays import ColumnSource
from tlx.data.readers.layout import SPLIT_NAMES, Listed, classes_of, notes_on
from tlx.data.readers.numbers import rows_of_parts, targets_of_rows
from tlx.data.readers.table import numbered_lines
from tlx.data.readers.targets import read_targets
from tlx.data.readers.text_table import TextRoles, TextTable, read_text_table, text_roles
from tlx.data.source import TargetKind
from tlx.data.spec import PARTS, Parts, Request
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import open_regular, shown

MAX_TEXT = 1 << 20  # bytes of a text in a file of its own
_LISTED = 10


def read_texts(request: Request) -> Parts:
    """Read a table of texts (.csv, .tsv, .jsonl, .parquet), a folder of .txt files by class, or lines of a .txt file.

    A table's columns are those that the request's `text` and `target` name, by name or, of a file without names, by
    number from 1; or those that look so (`tlx.data.readers.text_table`), which a note says. Two columns of texts are
    pairs. `split` (or `part`) is train, validation or test, or as the request names them. A folder has a folder for
    each class, or such folders under train, validation and test.

    Raises:
        DataError: naming the lines without a text or label, beyond the share that may be bad (`skip_bad`).
    """
    if not request.where:
        raise DataError("texts: no file named; say texts:FILE or texts:DIR")
    path = str(home(request.where))
    if os.path.isdir(path):
        return _read_folder(path, request)
    if path.lower().endswith(".txt"):
        lines, texts, notes = read_lines(path)
        return Parts(_source(texts, None, [f"{path} line {line}" for line in lines]), None, tuple(notes))
    return _read_table(path, request)


def read_lines(path: str) -> tuple[list[int], list[str], list[str]]:
    """Read a text a line: the numbers of the lines, the texts, and a note on lines that are empty."""
    found = [(number, text.strip()) for number, text in numbered_lines(path)]
    kept = [(number, text) for number, text in found if text]
    if not kept:
        raise DataError(f"{shown(path)}: holds no text; give one a line")
    empty = len(found) - len(kept)
    notes = [f"{shown(path)}: {empty} empty lines are left out"] if empty else []
    return [number for number, _ in kept], [text for _, text in kept], notes


def _read_table(path: str, request: Request) -> Parts:
    spec, place = request.spec, shown(path)
    table = read_text_table(path)
    roles = text_roles(table, spec.text, spec.target)
    table, skipped = _without_empty(table, roles, spec.skip_bad)
    kind = "class" if not spec.target and spec.target_kind == "auto" else spec.target_kind
    targets = [list(row) for row in zip(*(map(str.strip, table.column(name)) for name in roles.target), strict=True)]
    read = read_targets(path, roles.target, targets, table.lines, kind)
    splits = [value.strip() for value in table.column(roles.split)] if roles.split else [""] * len(table.rows)
    rows = rows_of_parts(splits, table.lines, spec, place)
    if "train" not in rows:
        raise DataError(f"{place}: no row is of the training split; name it (--train-split)")
    numbers, classes, notes = targets_of_rows(read, roles.target[0], targets, table.lines, rows, place)
    columns = [np.array([text.strip() for text in table.column(name)], object) for name in roles.text]
    names = np.array([f"{path} line {line}" for line in table.lines], object)
    sources = {
        part: _source([column[held] for column in columns], numbers[held], names[held].tolist(), classes, read.kind)
        for part, held in rows.items()
    }
    said = (roles.note(table), *_left_out(skipped), *(note for note in notes if note))
    return Parts(sources["train"], sources.get("test"), said, sources.get("validation"), tuple(skipped))


def _without_empty(table: TextTable, roles: TextRoles, skip_bad: float) -> tuple[TextTable, list[str]]:
    """Return a table without rows that lack a text or are no Unicode; raise `DataError` where these are too many."""
    faults: dict[int, str] = {}
    for name in roles.text:
        for row, text in enumerate(table.column(name)):
            if not text.strip():
                faults.setdefault(row, f"line {table.lines[row]} has no text")
            elif any("\ud800" <= letter <= "\udfff" for letter in text):
                faults.setdefault(row, f"line {table.lines[row]} is no Unicode text")
    return _kept(table, faults, skip_bad)


def _kept(table: TextTable, faults: dict[int, str], skip_bad: float) -> tuple[TextTable, list[str]]:
    place = shown(table.path)
    if len(faults) > skip_bad * len(table.rows):
        listed = "; ".join(list(faults.values())[:_LISTED]) + (
            f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        )
        raise DataError(f"{place}: {listed}: mend these lines, or leave them out (--skip-bad 5%)")
    good = [row for row in range(len(table.rows)) if row not in faults]
    kept = TextTable(
        table.path, table.names, table.named, [table.lines[row] for row in good], [table.rows[row] for row in good]
    )
    return kept, [f"{place}: {fault}" for fault in faults.values()]


def _left_out(skipped: Sequence[str]) -> list[str]:
    return [f"{len(skipped)} texts are bad and left out: {'; '.join(skipped[:5])}"] if skipped else []


def _source(
    texts: Sequence[object],
    targets: np.ndarray | None,
    names: Sequence[str],
    classes: Sequence[str] = (),
    kind: TargetKind = "class",
) -> ColumnSource:
    """Hold texts, one column of them or two, with their targets."""
    several = [column for column in texts if isinstance(column, np.ndarray)]
    column: object = np.array(list(texts), object)
    if several:
        column = several[0] if len(several) == 1 else {"text": several[0], "pair": several[1]}
    columns = {"input": column} if targets is None else {"input": column, "target": targets}
    return ColumnSource(columns, classes, kind, names)


# Folders


def _read_folder(root: str, request: Request) -> Parts:
    """Read `DIR/CLASS/*.txt`, or `DIR/train/CLASS/*.txt` with validation and test beside."""
    folders = _parts_of(root, request)
    listed: dict[str, list[Listed]] = {}
    texts: dict[str, list[str]] = {}
    faults: list[str] = []
    total = 0
    for part, folder in folders.items():
        listed[part], texts[part] = [], []
        for label in _folders(folder):
            for name in _text_files(os.path.join(folder, label)):
                file, total = os.path.join(folder, label, name), total + 1
                try:
                    texts[part].append(_read_file(file))
                except DataError as error:
                    faults.append(str(error))
                    continue
                listed[part].append(Listed(file, label, file))
    if len(faults) > request.spec.skip_bad * max(total, 1):
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise DataError(f"{'; '.join(faults[:_LISTED])}{more}: mend them, or leave them out (--skip-bad 5%)")
    if not listed["train"]:
        raise DataError(f"{shown(root)}: no .txt files in folders; give a folder of them for each class")
    classes = classes_of(listed, shown(root))
    index = {label: number for number, label in enumerate(classes)}
    sources = {
        part: _source(texts[part], np.array([index[each.label] for each in held]), [e.path for e in held], classes)
        for part, held in listed.items()
        if held
    }
    notes = (*_left_out(faults), *notes_on(classes))
    return Parts(sources["train"], sources.get("test"), notes, sources.get("validation"), tuple(faults))


def _parts_of(root: str, request: Request) -> dict[str, str]:
    asked = request.spec.splits()
    if asked:
        return {part: os.path.join(root, name) for part, name in asked.items()}
    named = {
        SPLIT_NAMES[name.lower()]: os.path.join(root, name) for name in _folders(root) if name.lower() in SPLIT_NAMES
    }
    return {part: named[part] for part in PARTS if part in named} if "train" in named else {"train": root}


def _folders(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{shown(folder)}: cannot be listed ({error.strerror}); check the path") from error
    return [name for name in names if not name.startswith(".") and os.path.isdir(os.path.join(folder, name))]


def _text_files(folder: str) -> list[str]:
    return [name for name in sorted(os.listdir(folder)) if name.lower().endswith(".txt") and not name.startswith(".")]


def holds_text_files(folder: str) -> bool:
    """Tell whether a folder holds .txt files by class: in the first folders of it that hold any files."""
    for level in ("", *_folders(folder)[:20]):
        for name in _folders(os.path.join(folder, level))[:20]:
            if _text_files(os.path.join(folder, level, name)):
                return True
    return False


def _read_file(path: str) -> str:
    with open_regular(path) as file:
        content = file.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise DataError(f"{shown(path)}: longer than {MAX_TEXT:,} bytes")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)}: not UTF-8 at byte {error.start}") from error
    if not text or "\0" in text:
        raise DataError(f"{shown(path)}: {'has a NUL character' if text else 'is empty'}")
    return text
