"""Read a manifest: a CSV, TSV or JSON-lines file with an image and its class in each row."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from tlx.data.readers.layout import SPLIT_NAMES, Listed, build_parts
from tlx.data.readers.numbers import names_vectors, read_numbers
from tlx.data.readers.table import Table, read_table
from tlx.data.readers.targets import Targets, read_targets
from tlx.data.spec import Parts, Request
from tlx.data.validate import check_label_texts
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.opening import shown

_LISTED = 10  # wrong lines named in an error
_COLUMNS = {
    "path": (
        *("file", "filename", "file_name", "filepath", "file_path"),
        *("image", "image_path", "image_file", "img", "img_path"),
    ),
    "label": ("class", "class_name", "label_name", "category"),
    "split": (),
    "sha256": (),
}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}|")
_ELSEWHERE = re.compile(r"(?P<url>[A-Za-z][A-Za-z0-9+.-]+://)|(?P<windows>[A-Za-z]:[\\/]|\\\\)")


def read_manifest(request: Request) -> Parts:
    """Read rows of `path`, `label` or what the request names as the target, and, if wanted, `split` and `sha256`.

    A table has these names in its first line, a `.jsonl` file in each object (`tlx.data.readers.table` says what else
    is understood). Paths are relative to the manifest; where there is no file of that very name, backslashes in them
    are taken for slashes, and ~/ before them for the home directory. `split` is train (also where it is empty),
    validation or test, or as the request names them; where there is none, `load_data` splits. `sha256` is checked, and
    alone finds flipped bits. Other columns are ignored and noted. Targets of other kinds than classes are read as
    `tlx.data.readers.targets` says. Raises `DataError` that lists the lines without a
    path or label, with an unknown split, with a path that cannot be had here, or with an image that another line has in
    another class; for labels that are figures; and for images that cannot be decoded beyond `skip_bad`.
    """
    if not request.where:
        raise DataError("manifest: no file named; say manifest:FILE")
    path = str(home(request.where))
    if names_vectors(path):
        return read_numbers(request)
    if request.spec.inputs:
        raise ConfigError(
            f"{shown(path)}: inputs: columns are for a table of numbers, and this lists images; leave it out"
        )
    folder = os.path.dirname(os.path.abspath(path))
    target = request.spec.target or ("label",)
    table = read_table(path, _columns(request), required=("path", *target))
    targets = _targets(path, target, table, request)
    asked = {name: part for part, name in request.spec.splits().items()}
    splits = asked or {**SPLIT_NAMES, "": "train"}
    listed: dict[str, list[Listed]] = {}
    faults: list[str] = []
    classes: dict[str, tuple[str, int]] = {}
    turned = 0
    for number, (line, row) in enumerate(table.rows):
        image, sha256 = row.get("path", ""), row.get("sha256", "")
        label = "\n".join(row.get(name, "") for name in target)
        split = row.get("split", "") if asked else row.get("split", "").strip().lower()
        other, before = classes.setdefault(image, (label, line))
        if not image or (not label and targets.kind == "class"):
            faults.append(f"line {line} has no {target[0] if image else 'path'}")
        elif not _SHA256.fullmatch(sha256):
            faults.append(f"line {line}: sha256 is not 64 hexadecimal digits")
        elif not label.isascii() and any("\ud800" <= letter <= "\udfff" for letter in label):
            faults.append(f"line {line}: the label {label!a} is no Unicode text")
        elif other != label:
            faults.append(f"line {line}: {shown(image)} is {shown(label)!r}, and {shown(other)!r} in line {before}")
        elif elsewhere := _ELSEWHERE.match(image) if os.name != "nt" or "://" in image else None:
            what = "an address; fetch the image" if elsewhere["url"] else "a path of Windows; make it relative"
            faults.append(f"line {line}: {shown(image)} is {what}")
        elif split in splits:
            place = os.path.join(folder, image)
            if "\\" in image and os.sep == "/" and not os.path.lexists(place):
                place, turned = os.path.join(folder, image.replace("\\", "/")), turned + 1
            elif image.startswith("~/") and not os.path.lexists(place):
                place = str(home(image))
            values = None if targets.rows is None else targets.rows[number]
            listed.setdefault(splits[split], []).append(Listed(place, label, f"{path} line {line}", sha256, values))
        elif not asked:
            faults.append(f"line {line}: split {shown(split)!r} is none of train, validation and test")
    _check(path, faults, listed, asked, targets.kind == "class")
    notes = [targets.note] if targets.note else []
    notes += [f"{shown(path)}: the backslashes of {turned} paths are taken for slashes"] if turned else []
    return build_parts(listed, request, [*table.notes, *notes], targets.kind, targets.names)


def _columns(request: Request) -> dict[str, tuple[str, ...]]:
    """Return the columns that are read, with other names for them; the target's by their own names alone."""
    fixed = {name: others for name, others in _COLUMNS.items() if name != "label" or not request.spec.target}
    for name in request.spec.target:
        if name in fixed:
            raise DataError(f"target: the column {name!r} of a manifest has another meaning; give yours another name")
    return {**fixed, **dict.fromkeys(request.spec.target, ())}


def _targets(path: str, target: Sequence[str], table: Table, request: Request) -> Targets:
    """Read the targets; classes, if nothing else is said."""
    if not request.spec.target and request.spec.target_kind == "auto":
        return Targets("class")
    texts = [[row.get(name, "") for name in target] for _, row in table.rows]
    return read_targets(path, target, texts, [line for line, _ in table.rows], request.spec.target_kind)


def _check(
    path: str, faults: Sequence[str], listed: dict[str, list[Listed]], asked: dict[str, str], classes: bool
) -> None:
    """Raise `DataError` for what is wrong with some lines, or with all."""
    if faults:
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise DataError(f"{shown(path)}: {'; '.join(faults[:_LISTED])}{more}; mend these lines")
    every = [entry for entries in listed.values() for entry in entries]
    if classes:
        check_label_texts([entry.label for entry in every], lambda row: shown(every[row].place))
    for name, part in asked.items():
        if part not in listed:
            raise DataError(f"{shown(path)}: no line has the split {shown(name)!r}, which --{part}-split names")
