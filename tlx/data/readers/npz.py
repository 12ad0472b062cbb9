"""Read arrays from an .npz file without unpickling and without trusting its sizes."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from tlx.data.arrays import ArraySource, ColumnSource, vectors
from tlx.data.source import TargetKind
from tlx.data.spec import KINDS_OF_TARGETS, PARTS, DataSpec, Parts, Request
from tlx.data.validate import check_labels, numbered_classes
from tlx.data.views import Subset
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.files.archive import read_directory
from tlx.files.npz import read_header
from tlx.files.opening import DATA, MAX_UNPACKED, RegularFile, shown
from tlx.files.true_type import true_type

_STYLES = (("x_train", "y_train", "x_test", "y_test"), ("images", "labels"), ("features", "labels"))
_OPTIONS = ("classes", "value_range", "parts", "paths", "target_kind")


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


def read_npz_examples(request: Request) -> Parts:
    """Read `FILE`: x_train, y_train and perhaps x_test, y_test; or images, labels; or features, labels.

    Images are (N, H, W) or (N, H, W, C), and vectors (N, D); `features` and an x_train of two axes are vectors.
    Optional arrays: `classes` (strings), `value_range` (the two values that are black and white, required where the
    images are floats) and, of one set, `parts` (train, validation or test for each row, as `tlx embed` writes it) and
    `paths`. The request's `target` names another array than the labels, and its `target_kind` what the targets are.
    Other arrays are named in the notes.
    """
    spec = request.spec
    if spec.splits() or spec.skip_bad or spec.inputs:
        raise ConfigError(
            f"{shown(request.where) or 'npz'}: has neither named splits nor image files nor columns; leave out "
            "train_split, validation_split, test_split, skip_bad and inputs"
        )
    if not request.where:
        raise DataError("npz: no file given; say npz:FILE")
    path = str(home(request.where))
    arrays, others = read_npz(path, {name for style in _STYLES for name in style} | {*_OPTIONS, *spec.target})
    name = shown(path)
    styles = [keys for keys in _STYLES if keys[0] in arrays]
    have = ", ".join(map(shown, [*arrays, *others])) or "nothing"
    if len(styles) != 1 or (styles[0][1] not in arrays and not spec.target):
        raise DataError(
            f"{name}: holds {have}; expected x_train, y_train and perhaps x_test, y_test; or images, labels; or "
            "features, labels"
        )
    inputs, targets, *test = styles[0]
    if spec.target:
        if test or len(spec.target) > 1 or spec.target[0] not in arrays:
            raise DataError(f"{name}: target: name one of its arrays, beside images or features; it holds {have}")
        targets = spec.target[0]
    if any(key in arrays for key in test) and not all(key in arrays for key in test):
        raise DataError(f"{name}: holds {have}; x_test and y_test go together")
    kind = _kind(arrays, spec, name)
    made = functools.partial(_source, arrays, name, kind)
    train = made(inputs, targets, _texts(arrays, "classes", name))
    own_test = made(test[0], test[1], train.classes) if test and test[0] in arrays else None
    used = {inputs, targets, *test, *_OPTIONS}
    left = [*others, *(key for key in arrays if key not in used)]
    notes = (f"{name}: not used: {', '.join(map(shown, left))}",) if left else ()
    if "parts" not in arrays:
        return Parts(train, own_test, notes)
    parts = _texts(arrays, "parts", name) or ()
    if test or len(parts) != len(train) or not {"train"} <= set(parts) <= set(PARTS):
        raise DataError(f"{name}[parts]: expected train, validation or test for each row, and some of train")
    held = {part: np.flatnonzero(np.array(parts) == part) for part in PARTS if part in parts}
    sources = {part: Subset(train, rows) for part, rows in held.items()}
    return Parts(sources["train"], sources.get("test"), notes, sources.get("validation"))


def _kind(arrays: Mapping[str, np.ndarray], spec: DataSpec, name: str) -> TargetKind:
    """Return what the targets are: as asked for, or else as the array `target_kind` says of `labels`, or classes."""
    if spec.target_kind != "auto" or spec.target or "target_kind" not in arrays:
        return "class" if spec.target_kind == "auto" else cast(TargetKind, spec.target_kind)
    said = str(arrays["target_kind"])
    if said not in KINDS_OF_TARGETS[1:]:
        raise DataError(f"{name}[target_kind]: {shown(said)!r} is none of {', '.join(KINDS_OF_TARGETS[1:])}")
    return cast(TargetKind, said)


def _source(
    arrays: Mapping[str, np.ndarray],
    name: str,
    kind: TargetKind,
    inputs: str,
    targets: str,
    classes: tuple[str, ...] | None,
) -> ColumnSource:
    """Build the source of images or vectors and their targets, two of the arrays."""
    if kind == "class":
        labels = check_labels(arrays[targets], f"{name}[{targets}]")
        classes = numbered_classes(labels, f"{name}[{targets}]") if classes is None else classes
    else:
        labels = arrays[targets]
    if inputs == "features" or arrays[inputs].ndim == 2:
        return vectors(arrays[inputs], labels, classes, kind, _texts(arrays, "paths", name), f"{name}[{inputs}]")
    value_range = None
    if "value_range" in arrays:
        if arrays["value_range"].shape != (2,) or arrays["value_range"].dtype.kind not in "iuf":
            raise DataError(f"{name}[value_range]: expected two numbers, the values of black and of white")
        value_range = (float(arrays["value_range"][0]), float(arrays["value_range"][1]))
    return ArraySource(
        arrays[inputs],
        labels,
        classes,
        value_range=value_range,
        target_kind=kind,
        images_name=f"{name}[{inputs}]",
        labels_name=f"{name}[{targets}]",
    )


def _texts(arrays: Mapping[str, np.ndarray], key: str, name: str) -> tuple[str, ...] | None:
    if key not in arrays:
        return None
    if arrays[key].ndim != 1 or arrays[key].dtype.kind != "U":
        raise DataError(f"{name}[{key}]: expected a row of strings, got {arrays[key].dtype}")
    return tuple(arrays[key].tolist())
