"""Read arrays from an .npz file without unpickling and without trusting its sizes."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Collection

import numpy as np

from tlx.data.arrays import ArraySource
from tlx.data.spec import Parts
from tlx.data.validate import check_labels, numbered_classes
from tlx.errors import DataError, TlxError, UnsafeFileError
from tlx.files import home
from tlx.files.regular import DEFLATE_LIMIT, MAX_BYTES, one_line, open_regular, shown, true_type

_CHUNK = 1 << 20
_PAIRS = (("x_train", "y_train", "x_test", "y_test"), ("images", "labels"))
_OPTIONS = ("classes", "value_range")


def read_npz(
    path: str | os.PathLike[str], keys: Collection[str] | None = None, *, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read the arrays among `keys` (None: all) of an .npz file; return them and the names of those left alone.

    Raises `UnsafeFileError` for arrays of Python objects (nothing is ever unpickled), member names that are not plain
    names or are there twice, encrypted members, and members that claim to unpack to more than deflate can or than
    `max_bytes` together; `DataError` for a file that is damaged or not an .npz file. Nothing is allocated on the word
    of a header.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".npz") as file:
    ...     np.savez(file.name, images=np.zeros((2, 3)), note="made by hand")
    ...     arrays, others = read_npz(file.name, ["images"])
    >>> arrays["images"].shape, others
    ((2, 3), ('note',))
    """
    name = shown(path)
    arrays, others = {}, []
    with open_regular(path) as file:
        head = file.read(64)
        try:
            with zipfile.ZipFile(file) as archive:
                members = _check_members(archive, name, max_bytes)
                for key, member in members.items():
                    if keys is None or key in keys:
                        arrays[key] = _read_member(archive, member, f"{name}[{key}]")
                    else:
                        others.append(key)
        except TlxError:
            raise
        except MemoryError:  # says nothing about the file
            raise
        except Exception as error:  # zipfile and numpy's header parser raise a dozen kinds on damaged files
            kind = "damaged .npz file" if head.startswith(b"PK") else f"not an .npz file but {true_type(head)}"
            raise DataError(f"{name}: {kind} ({one_line(error)}); write it again with numpy.savez") from error
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


def _check_members(archive: zipfile.ZipFile, name: str, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        if key == member.filename or not key or key.startswith(".") or any(c in key for c in "/\\:\0"):
            raise UnsafeFileError(f"{name}: member {shown(member.filename)!r} is not a plain name; refused")
        if key in members:
            raise UnsafeFileError(f"{name}: member {shown(member.filename)!r} is there twice; refused")
        if member.flag_bits & 0x1:
            raise UnsafeFileError(f"{name}: member {shown(member.filename)!r} is encrypted; refused")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnsafeFileError(f"{name}: member {shown(member.filename)!r} is not packed as numpy packs; refused")
        members[key] = member
        total += member.file_size
        if member.file_size > (member.compress_size + 1) * DEFLATE_LIMIT or total > max_bytes:
            raise UnsafeFileError(
                f"{name}: member {shown(member.filename)!r} claims to unpack {member.compress_size} bytes to "
                f"{member.file_size}, more than can be or than the limit of {max_bytes} for the file; refused"
            )
    return members


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    content = bytearray()
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK):  # zipfile stops at file_size and checks the CRC there
            content += chunk
    header = io.BytesIO(content[: 1 << 17])
    version = np.lib.format.read_magic(header)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{name}: .npy version {version} is for structured arrays, which are not images or labels")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(header)
    if dtype.hasobject:
        raise UnsafeFileError(f"{name}: holds Python objects, which only unpickling could read; refused")
    if dtype.kind not in "biufU":
        raise DataError(f"{name}: type {dtype}, expected numbers or strings")
    data = memoryview(content)[header.tell() :]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise DataError(f"{name}: the header announces shape {shape} of {dtype} but {len(data)} bytes follow it")
    array = np.frombuffer(data, dtype) if dtype.itemsize else np.zeros(math.prod(shape), dtype)
    array = array.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C", copy=False)
