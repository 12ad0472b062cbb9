"""The types of elements that weight files name: which become arrays, and how bytes do."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tlx.errors import WeightsError
from tlx.files.npz import is_possible
from tlx.files.opening import shown

_NUMPY = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_QUANTIZED = re.compile(r"(q|quint|qint|float[468]_|F[468]|[FIU]4|U?INT4|MXFP)", re.IGNORECASE)


def is_array_type(name: str) -> bool:
    """Say whether arrays can have elements of a type: `numpy_type` finds it."""
    return name in _NUMPY or name == "bfloat16"


def numpy_type(name: str, where: str) -> np.dtype:
    """Find the NumPy type of a name; `WeightsError` for types that hold numbers only together with scales, or none.

    >>> numpy_type("bfloat16", "model.pt: tensor 'w'").itemsize
    2
    >>> numpy_type("float8_e4m3fn", "model.pt: tensor 'w'")
    Traceback (most recent call last):
    ...
    tlx.errors.WeightsError: model.pt: tensor 'w': quantized (float8_e4m3fn); convert the float weights instead
    """
    if name in _NUMPY:
        return np.dtype(name)
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    if _QUANTIZED.match(name):
        raise WeightsError(f"{where}: quantized ({name}); convert the float weights instead")
    raise WeightsError(f"{where}: elements of type {name} are not read; save it as float32")


def check_shape(shape: Sequence[int], itemsize: int, where: str) -> None:
    """Raise `WeightsError` for a shape that NumPy cannot have, even of an array without elements.

    >>> check_shape((0, 1 << 62), 4, "model.npz: tensor 'w'")
    Traceback (most recent call last):
    ...
    tlx.errors.WeightsError: model.npz: tensor 'w': shape (0, 4611686018427387904) is impossible; the file is damaged
    """
    if not is_possible(tuple(shape), itemsize):
        raise WeightsError(f"{where}: shape {shown(str(tuple(shape)))} is impossible; the file is damaged")


def to_array(content: np.ndarray, dtype: np.dtype, *, big_endian: bool = False) -> np.ndarray:
    """View bytes as a row of elements in native byte order; bytes of another order are swapped in place.

    >>> to_array(np.array([0, 1, 2, 0], np.uint8), np.dtype("uint16"), big_endian=True)
    array([  1, 512], dtype=uint16)
    """
    if dtype == np.bool_:
        return content != 0  # a bool that is neither 0 nor 1 would be undefined behaviour
    unit = dtype.itemsize // (2 if dtype.kind == "c" else 1)
    if unit > 1 and big_endian != (np.little_endian is False):
        content.view(f"u{unit}").byteswap(inplace=True)
    return content.view(dtype)
