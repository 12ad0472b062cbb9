"""What image folders and manifests share: the names of splits, and the order of classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlx.data.encoded import encoded_images
from tlx.data.screen import screen
from tlx.data.source import TargetKind
from tlx.data.spec import PARTS, Parts, Request
from tlx.errors import DataError
from tlx.files.opening import shown

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


_MISSING = {"nan", "none", "null", "na", "n/a", "?"}


class Listed(NamedTuple):
    """An image that a folder or a manifest lists: its file, its class, where it was listed, its SHA-256 or "".

    Of another kind of target than classes, `target` holds the numbers, and `label` counts for nothing.
    """

    path: str
    label: str
    place: str
    sha256: str = ""
    target: Any = None


def order_classes(names: Iterable[str], place: str) -> tuple[str, ...]:
    """Order the names of classes: by code point, or by value where all are whole numbers.

    Raise `DataError` where two names look alike (equal in Unicode's form NFKC, blanks at the ends aside).

    >>> order_classes(["10", "9", "1"], "data"), order_classes(["b", "B", "a10", "a9"], "data")
    (('1', '9', '10'), ('B', 'a10', 'a9', 'b'))
    """
    alike: dict[str, str] = {}
    for name in sorted(set(names)):
        other = alike.setdefault(unicodedata.normalize("NFKC", name).strip(), name)
        if other != name:
            raise DataError(f"{place}: the classes {other!a} and {name!a} look alike; give them other names")
    numbers = all(name.isascii() and name.isdigit() for name in alike.values())
    return tuple(sorted(alike.values(), key=(lambda name: (int(name), name)) if numbers else None))


def build_parts(
    listed: dict[str, list[Listed]],
    request: Request,
    notes: Sequence[str],
    kind: TargetKind = "class",
    names: Sequence[str] = (),
) -> Parts:
    """Build the parts from the images listed for training, validation and testing, after a look at each.

    The classes are those of training, or the `names` of what targets of another `kind` hold. Raise `DataError` for no
    images and for a class that training does not have.
    """
    place = shown(request.where)
    if not listed.get("train"):
        raise DataError(f"{place}: no images to train on; give a folder of images for each class")
    classes = classes_of(listed, place) if kind == "class" else tuple(names)
    index = {name: number for number, name in enumerate(classes)}
    present = [part for part in PARTS if listed.get(part)]
    sources = {
        part: encoded_images(
            [p.path for p in listed[part]],
            [index[p.label] if kind == "class" else p.target for p in listed[part]],
            classes,
            kind,
        )
        for part in present
    }
    expected = {part: [image.sha256 for image in listed[part]] for part in present}
    screened = screen(
        sources, request.spec.skip_bad, expected=expected, preprocess=request.images, progress=request.progress
    )
    found = screened.sources
    return Parts(
        found["train"],
        found.get("test"),
        (*notes, *screened.notes, *(notes_on(classes) if kind == "class" else ())),
        found.get("validation"),
        screened.skipped,
    )


def classes_of(listed: dict[str, list[Listed]], place: str) -> tuple[str, ...]:
    """Return the classes of training; raise `DataError` where another part has one more."""
    classes = order_classes((image.label for image in listed["train"]), place)
    for part, images in listed.items():
        extra = sorted({image.label for image in images} - set(classes))
        if extra:
            first = next(image for image in images if image.label == extra[0])
            order_classes({extra[0], *classes}, place)  # where it only looks like one of training's
            raise DataError(
                f"{shown(first.place)}: {part} has the class {shown(extra[0])!r}, which training has not"
                + (f" (nor {len(extra) - 1} more)" if len(extra) > 1 else "")
                + "; add it to training or take it out"
            )
    return classes


def notes_on(classes: Sequence[str]) -> list[str]:
    """Say what is odd about the names of classes: numbers, names that differ in case only or stand for nothing, blanks.

    Names of one letter may differ in case: those of letters do.

    >>> notes_on(["Cat", "cat"]), notes_on(["A", "a"])
    (["the classes 'Cat' and 'cat' differ in case only; if they are one class, give it one name"], [])
    """
    notes = numbered_note(classes)
    folded: dict[str, str] = {}
    for name in classes:
        other = folded.setdefault(name.casefold(), name)
        if other != name and len(name) > 1:
            notes.append(
                f"the classes {shown(other)!r} and {shown(name)!r} differ in case only; if they are one class, give it "
                "one name"
            )
        if name.strip().lower() in _MISSING:
            notes.append(f"the class {shown(name)!r} may be a label that is missing; if so, take its images out")
        if name != name.strip():
            notes.append(f"the class {shown(name)!r} begins or ends with a blank, which belongs to its name")
    return notes


def numbered_note(classes: Sequence[str]) -> list[str]:
    """Say which index each class has where the names are numbers and the indices others.

    >>> numbered_note(["1", "2", "10"])
    ['the classes are numbers: class 1 has index 0, 2 has 1, 10 has 2']
    """
    if not all(name.isascii() and name.isdigit() for name in classes) or list(classes) == list(
        map(str, np.arange(len(classes)))
    ):
        return []
    first, *rest = (f"{name} has{' index' * (not number)} {number}" for number, name in enumerate(classes))
    return [f"the classes are numbers: class {', '.join([first, *rest[:19]])}{', ...' if len(rest) > 19 else ''}"]
