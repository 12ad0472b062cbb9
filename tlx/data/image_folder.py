"""Read a folder of pictures: a folder for each class, or such folders under train, validation and test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from tlx.data.decode import SUFFIXES
from tlx.data.files import one_line, shown
from tlx.data.layout import SPLIT_NAMES, Listed, build_parts
from tlx.data.source import PARTS, Parts, Request
from tlx.errors import DataError
from tlx.files import home

_NO_DATA = {"thumbs.db", "desktop.ini", "__macosx"}  # what systems leave behind, besides hidden files


def read_image_folder(request: Request) -> Parts:
    """Read `DIR/CLASS/picture.jpg`, or `DIR/train/CLASS/picture.jpg` with validation and test beside.

    The parts may be called train or training; validation, valid, val or dev; test or testing, in any case; or as the
    request names them. What `picture_paths` finds below a class's folder belongs to it; what is left out is counted in
    the notes. Class names are ordered as `order_classes` says. Raises `DataError` for a folder without classes, for
    pictures that cannot be decoded beyond `skip_bad`, and for classes that training does not have.
    """
    if not request.where:
        raise DataError("folder: no folder named; say folder:DIR")
    root = str(home(request.where))
    if not os.path.isdir(root):
        raise DataError(f"{shown(root)}: no such folder; name one that holds a folder of pictures for each class")
    left_out: Counter[str] = Counter()
    folders = _split_folders(root, request, left_out)
    listed = {part: list(_pictures(folder, left_out)) for part, folder in folders.items()}
    train = folders["train"]
    if not listed["train"]:
        raise DataError(f"{shown(train)}: {_what_is_there(train)}")
    if len({picture.label for picture in listed["train"]}) == 1:
        inside = [entry.path for entry in _visible(listed["train"][0].place, Counter()) if entry.is_dir()]
        hint = f"; did you mean {shown(listed['train'][0].place)}?" if inside else "; give a folder for each class"
        raise DataError(f"{shown(train)}: only one class, {shown(listed['train'][0].label)!r}{hint}")
    counts = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
    return build_parts(listed, request, [f"{shown(root)}: left out {counts}"] if left_out else [])


def _split_folders(root: str, request: Request, left_out: Counter[str]) -> dict[str, str]:
    """Find the folder of each part; the whole is training where there is no folder train."""
    asked = request.splits()
    named: dict[str, str] = {}
    if asked:
        for part, name in asked.items():
            named[part] = os.path.join(root, name)
            if not os.path.isdir(named[part]):
                raise DataError(f"{shown(named[part])}: no such folder; --{part}-split names a folder in the data's")
        if "train" not in named:
            raise DataError(f"{shown(root)}: --train-split is missing; name the folder to train on, too")
        return named
    others = []
    for entry in _visible(root, Counter()):
        role = SPLIT_NAMES.get(entry.name.lower()) if entry.is_dir() else None
        if role is None:
            others.append("folders beside train" if entry.is_dir() else "files beside train")
        elif role in named:
            raise DataError(
                f"{shown(root)}: both {_base_name(named[role])} and {_base_name(entry.path)}; take one away"
            )
        else:
            named[role] = entry.path
    if "train" not in named:
        if len(named) > 1 and "folders beside train" not in others:
            raise DataError(f"{shown(root)}: {' and '.join(map(_base_name, named.values()))}, but no folder train")
        return {"train": root}
    left_out.update(others)
    return {part: named[part] for part in PARTS if part in named}


def _visible(folder: str, left_out: Counter[str]) -> list[os.DirEntry[str]]:
    """List a folder by name, without what is hidden or left by a system."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{shown(folder)}: {one_line(error)}; check the folder's permissions") from error
    hidden = [e for e in entries if e.name.startswith(".") or e.name.lower() in _NO_DATA]
    left_out["hidden or system files"] += len(hidden)
    left_out += Counter()  # drops counts of 0
    return [entry for entry in entries if entry not in hidden]


def _pictures(folder: str, left_out: Counter[str]) -> Iterator[Listed]:
    """List the pictures under each class's folder."""
    for entry in _visible(folder, left_out):
        if entry.is_dir():
            label = _class_name(entry.name)
            found = picture_paths(entry.path, left_out, {_identity(folder)})
            yield from (Listed(path, label, entry.path) for path in found)
        else:
            left_out["pictures beside the class folders" if _is_picture(entry.name) else "other files"] += 1


def picture_paths(folder: str, left_out: Counter[str], seen: set[tuple[int, int]] | None = None) -> Iterator[str]:
    """Find the pictures at any depth below a folder, by their suffix (PNG, JPEG, BMP, GIF, TIFF, WebP).

    Links are followed, but no folder is entered twice, nor one that is in `seen`. Hidden and other files are counted in
    `left_out`. Raise `DataError` for a folder that cannot be read.
    """
    seen = set() if seen is None else seen
    if _identity(folder) in seen:
        left_out["links to folders that were met before"] += 1
        return
    seen.add(_identity(folder))
    for entry in _visible(folder, left_out):
        if entry.is_dir():
            yield from picture_paths(entry.path, left_out, seen)
        elif _is_picture(entry.name):
            yield entry.path
        else:
            left_out["other files"] += 1


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _base_name(path: str) -> str:
    return shown(os.path.basename(path))


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _class_name(name: str) -> str:
    """Return a folder's name as text that can be stored anywhere: bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _what_is_there(folder: str) -> str:
    """Say why a folder has no pictures by class, and how to mend it."""
    entries = _visible(folder, Counter())
    if any(_is_picture(entry.name) for entry in entries):
        return "pictures lie in it, but in no class; put those of each class into a folder, or write a manifest"
    if any("-ubyte" in entry.name for entry in entries):
        return f"holds idx files; say idx:{shown(folder)}"
    return "no pictures (PNG, JPEG, BMP, GIF, TIFF, WebP); give a folder of them for each class"
