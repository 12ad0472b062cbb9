"""Read arrays from an .npz file without unpickling and without trusting its sizes."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.spec import Parts
from tlx.data.validate import check_labels, numbered_classes
from tlx.errors import DataError
from tlx.files import home
from tlx.files.archive import read_directory
from tlx.files.npz import read_header
from tlx.files.opening import DATA, MAX_UNPACKED, RegularFile, shown
from tlx.files.true_type import true_type

_PAIRS = (("x_train", "y_train", "x_test", "y_test"), ("images", "labels"))
_OPTIONS = ("classes", "value_range")


def read_npz(
    path: str | os.PathLike[str], keys: Collection[str] | None = None, *, max_bytes: int = MAX_UNPACKED
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read the arrays among `keys` (None: all) of an .npz file; return them and the names of those left alone.

    Raises `UnsafeFileError` for arrays of Python objects (nothing is ever unpickled), members whose names lead out of
    the archive or are there twice, encrypted members, and members that claim to unpack to more than deflate can or than
    `max_bytes` together; `DataError` for a file that is damaged or not an .npz file. Nothing is allocated on the word
    of a header.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".npz") as file:
    ...     np.savez(file.name, images=np.zeros((2, 3)), note="made by hand")
    ...     arrays, others = read_npz(file.name, ["images"])
    >>> arrays["images"].shape, others
    ((2, 3), ('note',))
    """
    file = RegularFile.at(Path(path), replace(DATA, cure="write it again with numpy.savez", max_unpacked=max_bytes))
    head = file.read(0, min(512, file.size)).tobytes()
    if not head.startswith(b"PK"):
        raise file.fault(f"not an .npz file but {true_type(head)}")
    arrays, others = {}, []
    for member in read_directory(file).values():
        name = member.name.removesuffix(".npy")
        if keys is not None and name not in keys:
            others.append(name)
            continue
        array = read_header(member)
        if array.dtype.kind not in "biufU":
            raise DataError(f"{shown(path)}[{shown(name)}]: type {array.dtype}, expected numbers or strings")
        arrays[name] = array.read()
    return arrays, tuple(others)


def read_npz_examples(where: str) -> Parts:
    """Read `FILE`: x_train, y_train and perhaps x_test, y_test; or images, labels.

    Optional arrays: `classes` (strings) and `value_range` (the two values that are black and white, required where
    the images are floats). Other arrays are named in the notes.
    """
    if not where:
        raise DataError("npz: no file given; say npz:FILE")
    path = str(home(where))
    arrays, others = read_npz(path, {*_PAIRS[0], *_PAIRS[1], *_OPTIONS})
    name = shown(path)
    styles = [keys for keys in _PAIRS if any(key in arrays for key in keys)]
    have = ", ".join(map(shown, [*arrays, *others])) or "nothing"
    if len(styles) != 1 or any(key not in arrays for key in styles[0][:2]):
        raise DataError(
            f"{name}: holds {have}; expected x_train, y_train and perhaps x_test, y_test; or images, labels"
        )
    x_train, y_train, *test_keys = styles[0]
    if any(key in arrays for key in test_keys) and not all(key in arrays for key in test_keys):
        raise DataError(f"{name}: holds {have}; x_test and y_test go together")
    classes = None
    if "classes" in arrays:
        if arrays["classes"].ndim != 1 or arrays["classes"].dtype.kind != "U":
            raise DataError(f"{name}[classes]: expected a row of strings, got {arrays['classes'].dtype}")
        classes = tuple(arrays["classes"].tolist())
    value_range = None
    if "value_range" in arrays:
        if arrays["value_range"].shape != (2,) or arrays["value_range"].dtype.kind not in "iuf":
            raise DataError(f"{name}[value_range]: expected two numbers, the values of black and of white")
        value_range = (float(arrays["value_range"][0]), float(arrays["value_range"][1]))

    def source(x: str, y: str, names: tuple[str, ...] | None) -> ArraySource:
        labels = check_labels(arrays[y], f"{name}[{y}]")
        return ArraySource(
            arrays[x],
            labels,
            numbered_classes(labels, f"{name}[{y}]") if names is None else names,
            value_range=value_range,
            images_name=f"{name}[{x}]",
            labels_name=f"{name}[{y}]",
        )

    train = source(x_train, y_train, classes)
    test = source("x_test", "y_test", train.classes) if "x_test" in arrays else None
    notes = (f"{name}: not used: {', '.join(map(shown, others))}",) if others else ()
    return Parts(train, test, notes)
