"""List the files of a folder by class: a folder for each class, or such folders under train, validation and test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tlx.data.readers.layout import SPLIT_NAMES, Listed
from tlx.data.readers.walk import BROKEN, MET, OTHERS, Walk, identity, is_broken, is_folder
from tlx.data.spec import PARTS, Request
from tlx.errors import DataError
from tlx.files import home
from tlx.files.opening import open_regular, shown
from tlx.files.true_type import true_type


class Files(NamedTuple):
    """Which files of a folder are examples: their `noun`, the types they may have, as errors list them, which they are,
    and what a folder that holds them otherwise is told (by its path and the names in it), if anything.
    """

    noun: str
    types: str
    wanted: Callable[[os.DirEntry[str]], bool]
    advice: Callable[[str, list[str]], str | None]


def files_by_class(request: Request, files: Files) -> tuple[dict[str, list[Listed]], list[str]]:
    """List the files of a folder by part, each with the name of its class, and what the user should know.

    The parts may be called train or training; validation, valid, val or dev; test or testing, in any case; or as the
    request names them. The files that `Walk` finds below a class's folder belong to it; what is left out is named in
    the notes. Raises `DataError` for a folder without classes, or with one alone, and for a class folder without files
    (unless the request skips empty classes).
    """
    if not request.where:
        raise DataError("folder: no folder named; say folder:DIR")
    root = str(home(request.where))
    if not os.path.isdir(root):
        raise DataError(f"{shown(root)}: no such folder; name one that holds a folder of {files.noun} for each class")
    walk = Walk(root, files.wanted)
    folders = _split_folders(root, request, walk)
    empty: list[str] = []
    listed = {part: list(_of_classes(folder, walk, files.noun, empty)) for part, folder in folders.items()}
    train = folders["train"]
    if not listed["train"]:
        raise DataError(f"{shown(train)}: {_what_is_there(train, walk, files)}")
    if empty and request.spec.empty_classes == "refuse":
        raise DataError(_about_empty(empty, files))
    for folder in empty:
        walk.leave_out(f"class folders without {files.noun}", folder)
    if len({each.label for each in listed["train"]}) == 1:
        inside = [entry for entry in Walk(root).visible(listed["train"][0].place) if is_folder(entry)]
        hint = f"; did you mean {shown(listed['train'][0].place)}?" if inside else "; give a folder for each class"
        raise DataError(f"{shown(train)}: only one class, {shown(listed['train'][0].label)!r}{hint}")
    return listed, walk.notes()


def _split_folders(root: str, request: Request, walk: Walk) -> dict[str, str]:
    """Find the folder of each part; the whole is training where there is no folder train."""
    asked = request.spec.splits()
    named: dict[str, str] = {}
    if asked:
        for part, name in asked.items():
            named[part] = os.path.join(root, name)
            if not os.path.isdir(named[part]):
                raise DataError(f"{shown(named[part])}: no such folder; --{part}-split names a folder in the data's")
        if "train" not in named:
            raise DataError(f"{shown(root)}: --train-split is missing; name the folder to train on, too")
        return named
    others: dict[str, list[str]] = {"folders beside train": [], "files beside train": []}
    for entry in Walk(root).visible(root):
        role = SPLIT_NAMES.get(entry.name.lower()) if is_folder(entry) else None
        if role is None:
            others["folders beside train" if is_folder(entry) else "files beside train"].append(entry.path)
        elif role in named:
            raise DataError(
                f"{shown(root)}: both {_base_name(named[role])} and {_base_name(entry.path)}; take one away"
            )
        else:
            named[role] = entry.path
    if "train" not in named:
        if len(named) > 1 and not others["folders beside train"]:
            raise DataError(f"{shown(root)}: {' and '.join(map(_base_name, named.values()))}, but no folder train")
        return {"train": root}
    for reason, paths in others.items():
        for path in paths:
            walk.leave_out(reason, path)
    return {part: named[part] for part in PARTS if part in named}


def _of_classes(folder: str, walk: Walk, noun: str, empty: list[str]) -> Iterator[Listed]:
    """List the files under each class's folder, and the class folders that hold none."""
    start = identity(folder)
    for entry in walk.visible(folder):
        if is_folder(entry):
            if identity(entry.path) == start:
                walk.leave_out(MET, entry.path)
                continue
            label, before = _class_name(entry.name), len(empty)
            empty.append(entry.path)
            for path in walk.files(entry.path, {start}):
                del empty[before:]
                yield Listed(path, label, entry.path)
        else:
            if is_broken(entry) and not os.path.splitext(entry.name)[1]:  # to a class's folder on a disk that is gone
                empty.append(entry.path)
            kind = f"{noun} beside the classes" if walk.wanted(entry) else BROKEN if is_broken(entry) else OTHERS
            walk.leave_out(kind, entry.path)


def _about_empty(folders: list[str], files: Files) -> str:
    """Say what lies in class folders that hold no such files, and what can be done."""
    said = []
    for folder in folders[:5]:
        if not os.path.exists(folder):
            said.append(f"{shown(folder)} (a link that leads nowhere)")
            continue
        walk = Walk(folder, files.wanted)
        list(walk.files(folder, {identity(os.path.dirname(folder))}))  # none, as before
        others = walk.left_out.get(OTHERS)
        type_of = f", the first {_type_of(others.first[0])}" if others else ""
        said.append(f"{shown(folder)} ({walk.describe() or 'empty'}{type_of})")
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    return (
        f"{len(folders)} class folders hold no {files.noun} ({files.types}): {', '.join(said)}{more}; put "
        f"{files.noun} into them, take them away, or leave these classes out with --empty-classes skip"
    )


def _type_of(path: str) -> str:
    try:
        with open_regular(path) as file:
            return true_type(file.read(132))
    except (DataError, OSError):
        return "not to be read"


def _base_name(path: str) -> str:
    return shown(os.path.basename(path))


def _class_name(name: str) -> str:
    """Return a folder's name as text that can be stored anywhere: bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _what_is_there(folder: str, walk: Walk, files: Files) -> str:
    """Say why a folder has no files by class, and how to mend it."""
    advice = files.advice(folder, [entry.name for entry in Walk(folder).visible(folder)])
    if advice is not None:
        return advice
    there = f"; there are {walk.describe()}" if walk.left_out else ""
    return f"no {files.noun} ({files.types}); give a folder of them for each class{there}"
