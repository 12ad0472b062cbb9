"""List the arrays of an .npz file, without unpickling."""

from __future__ import annotations

import io
import math
import warnings
from functools import partial

import numpy as np

from tlx.convert.element_types import check_shape, numpy_type, to_array
from tlx.convert.source import Source, Tensor
from tlx.errors import UnsafeFileError, WeightsError
from tlx.files.archive import Member
from tlx.files.opening import RegularFile, one_line, shown

_MAX_HEADER = 1 << 16
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz_weights(file: RegularFile, members: dict[str, Member]) -> Source:
    """List the arrays among the members of an .npz file; arrays of text and the like are among `others`.

    Raises `UnsafeFileError` for arrays of Python objects, `WeightsError` for damaged ones.
    """
    tensors: dict[str, Tensor] = {}
    others = []
    for member in members.values():
        name = member.name.removesuffix(".npy")
        label = f"{shown(file.path)}: tensor '{shown(name)}'"
        start, shape, fortran, dtype = _read_header(member, label)
        if dtype.kind in "biufc":
            read = partial(_read_array, member, start, shape, fortran, dtype, label)
            tensors[name] = Tensor(name, shape, dtype.newbyteorder("=").name, read)
        elif dtype.kind == "V" and dtype.names is None:
            tensors[name] = Tensor(name, shape, f"void{8 * dtype.itemsize}", partial(_refuse_raw, dtype, label))
        else:
            others.append(name)
    return Source(file.path, "npz", tensors, others=tuple(others), files=(file.path,))


def _read_header(member: Member, label: str) -> tuple[int, tuple[int, ...], bool, np.dtype]:
    """Find where an array begins, its shape, whether it is in Fortran order, and its type."""
    header = io.BytesIO(member.head(_MAX_HEADER))
    try:
        read = _HEADER_READERS[np.lib.format.read_magic(header)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            shape, fortran, dtype = read(header)
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # NumPy's parser of headers raises several kinds
        raise WeightsError(f"{label}: damaged .npy header ({one_line(error)}); fetch the file again") from error
    if dtype.hasobject:
        raise UnsafeFileError(f"{label}: holds Python objects, which only unpickling could read; refused")
    size = math.prod(shape) * dtype.itemsize
    check_shape(shape, dtype.itemsize, label)
    if header.tell() + size != member.size:
        raise WeightsError(
            f"{label}: shape {shape} of {dtype} announced, but {member.size - header.tell()} bytes follow; damaged"
        )
    return header.tell(), shape, fortran, dtype


def _read_array(
    member: Member, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype, label: str
) -> np.ndarray:
    native = numpy_type(dtype.newbyteorder("=").name, label)
    row = to_array(member.read(start), native, big_endian=dtype.byteorder == ">")
    return np.ascontiguousarray(row.reshape(shape, order="F" if fortran else "C")).reshape(shape)


def _refuse_raw(dtype: np.dtype, label: str) -> np.ndarray:
    raise WeightsError(
        f"{label}: raw values of {dtype.itemsize} bytes (numpy.savez writes bfloat16 so); save it as float32"
    )
