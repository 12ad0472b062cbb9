"""List the arrays of an .npz file as tensors."""

from __future__ import annotations

from functools import partial

import numpy as np

from tlx.convert.source import Source, Tensor
from tlx.errors import WeightsError
from tlx.files.archive import Member
from tlx.files.npz import NpzArray, read_header
from tlx.files.opening import RegularFile, shown


def read_npz_weights(file: RegularFile, members: dict[str, Member]) -> Source:
    """List the arrays among the members of an .npz file; arrays of text and the like are among `others`.

    Raises `UnsafeFileError` for arrays of Python objects, `WeightsError` for damaged ones.
    """
    tensors: dict[str, Tensor] = {}
    others = []
    for member in members.values():
        label = f"{shown(file.path)}: tensor '{shown(member.name.removesuffix('.npy'))}'"
        array = read_header(member, label)
        if array.dtype.kind in "biufc":
            tensors[array.name] = Tensor(array.name, array.shape, array.dtype.newbyteorder("=").name, array.read)
        elif array.dtype.kind == "V" and array.dtype.names is None:
            raw = f"void{8 * array.dtype.itemsize}"
            tensors[array.name] = Tensor(array.name, array.shape, raw, partial(_refuse_raw, array, label))
        else:
            others.append(array.name)
    return Source(file.path, "npz", tensors, others=tuple(others), files=(file.path,))


def _refuse_raw(array: NpzArray, label: str) -> np.ndarray:
    raise WeightsError(
        f"{label}: raw values of {array.dtype.itemsize} bytes (numpy.savez writes bfloat16 so); save it as float32"
    )
