"""Read the arrays of an .npz file: never unpickled, each header checked against the bytes that are there."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np

from tlx.errors import TlxError, UnsafeFileError
from tlx.files.archive import Member
from tlx.files.opening import one_line, shown

_MAX_HEADER = 1 << 16
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class NpzArray:
    """An array of an .npz file, listed and not read: its name, its shape, its type there, and where it begins."""

    member: Member
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    fortran: bool

    def read(self) -> np.ndarray:
        """Read the array, in native byte order and contiguous in C order, with no copy of the bytes beside it.

        Raises an error of the file's kind where its bytes are damaged. Only where they stand in Fortran order does a
        second copy exist for a moment.
        """
        content = self.member.read(self.start)
        if self.dtype == np.bool_:
            flat = content != 0  # a bool that is neither 0 nor 1 would be undefined behaviour
        elif not self.dtype.itemsize:  # texts of no characters
            flat = np.zeros(math.prod(self.shape), self.dtype)
        else:
            flat = content.view(self.dtype)
            if not self.dtype.isnative:
                flat = flat.byteswap(inplace=True).view(self.dtype.newbyteorder("="))
        shaped = flat.reshape(self.shape, order="F" if self.fortran else "C")
        return np.ascontiguousarray(shaped).reshape(self.shape)  # the first makes a scalar a row


def read_header(member: Member, label: str | None = None) -> NpzArray:
    """Read the header of a member `NAME.npy`; `label` is what an error calls it.

    Raises `UnsafeFileError` for an array of Python objects; an error of the file's kind for a header that is damaged or
    announces other than the bytes that follow it.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from tlx.files.archive import read_directory
    >>> from tlx.files.opening import RegularFile
    >>> with tempfile.NamedTemporaryFile(suffix=".npz") as file:
    ...     np.savez(file.name, kernel=np.zeros((2, 3)))
    ...     array = read_header(read_directory(RegularFile.at(Path(file.name)))["kernel.npy"])
    ...     array.name, array.shape, array.read().sum()
    ('kernel', (2, 3), np.float64(0.0))
    """
    name = member.name.removesuffix(".npy")
    label = f"{shown(member.file.path)}[{shown(name)}]" if label is None else label

    def fault(what: str) -> TlxError:
        return member.file.kind.error(f"{label}: {what}; {member.file.kind.cure}")

    if name == member.name:
        raise fault("no array (its name does not end in .npy)")
    header = io.BytesIO(member.head(_MAX_HEADER))
    try:
        version = np.lib.format.read_magic(header)
        if version not in _HEADER_READERS:
            raise fault(f".npy version {version} is for structured arrays, which are not read")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            shape, fortran, dtype = _HEADER_READERS[version](header)
    except (MemoryError, TlxError):  # the first says nothing about the file
        raise
    except Exception as error:  # NumPy's parser of headers raises several kinds
        raise fault(f"damaged .npy header ({one_line(error)})") from error
    if dtype.hasobject:
        raise UnsafeFileError(f"{label}: holds Python objects, which only unpickling could read; refused")
    if not is_possible(shape, dtype.itemsize):
        raise fault(f"damaged, shape {shown(str(shape))} is impossible")
    if header.tell() + math.prod(shape) * dtype.itemsize != member.size:
        follow = member.size - header.tell()
        raise fault(f"damaged, the header announces shape {shape} of {dtype}, but {follow} bytes follow it")
    return NpzArray(member, name, shape, dtype, header.tell(), fortran)


def is_possible(shape: tuple[int, ...], itemsize: int) -> bool:
    """Tell whether NumPy can have a shape, even of an array without elements.

    >>> is_possible((0, 3), 4), is_possible((0, 1 << 62), 4)
    (True, False)
    """
    return len(shape) <= 32 and all(n >= 0 for n in shape) and math.prod(n for n in shape if n) * itemsize < 1 << 62
