"""Decode what the index of a TensorFlow checkpoint holds: its header, and where each tensor or slice stands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlx.convert.wire import WireError, as_number, as_stretch, read_fields, signed

STRING = 7
DTYPES = {  # tensorflow/core/framework/types.proto: the name of a type, and how many bytes an element has
    1: ("float32", 4),
    2: ("float64", 8),
    3: ("int32", 4),
    4: ("uint8", 1),
    5: ("int16", 2),
    6: ("int8", 1),
    8: ("complex64", 8),
    9: ("int64", 8),
    10: ("bool", 1),
    11: ("qint8", 1),
    12: ("quint8", 1),
    13: ("qint32", 4),
    14: ("bfloat16", 2),
    15: ("qint16", 2),
    16: ("quint16", 2),
    17: ("uint16", 2),
    18: ("complex128", 16),
    19: ("float16", 2),
    22: ("uint32", 4),
    23: ("uint64", 8),
    24: ("float8_e5m2", 1),
    25: ("float8_e4m3fn", 1),
    29: ("int4", 1),
    30: ("uint4", 1),
}
_VERSION = 1  # of the format, as TensorFlow has it since it began
_MOST_SHARDS = 100_000  # five digits in the names of their files
_MAX_NUMBER = 1 << 60
_SMALL = 64  # numbers below are one byte in a key


@dataclass(frozen=True)
class Header:
    """What the index says of all tensors: in how many shards they are, and in which order bytes stand."""

    shards: int
    big_endian: bool


@dataclass(frozen=True)
class Entry:
    """Where a tensor stands: its type (a number of `DTYPES`, or another), shape, shard, bytes and masked CRC32C.

    A partitioned tensor has `slices` instead: of each the first index and the count on every axis, -1 for all of it.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def type_name(self) -> str:
        """NumPy's or ml_dtypes' name of the type, or its number where nobody knows it."""
        return DTYPES[self.dtype][0] if self.dtype in DTYPES else f"{self.dtype} of TensorFlow"

    @property
    def fills(self) -> bool:
        """Whether the bytes are as many as type and shape need; always where they do not tell."""
        return self.dtype not in DTYPES or self.size == math.prod(self.shape) * DTYPES[self.dtype][1]


def read_header(data: bytes) -> Header:
    """Decode the value of the key '' (BundleHeaderProto in tensorflow/core/protobuf/tensor_bundle.proto).

    Raises:
        WireError: where it is damaged, or of a later version of the format.

    >>> read_header(bytes([0x08, 0x01, 0x1A, 0x02, 0x08, 0x01]))
    Header(shards=1, big_endian=False)
    """
    shards = order = needed = 0
    for number, value in read_fields(data):
        if number == 1:
            shards = as_number(value)
        elif number == 2:
            order = as_number(value)
        elif number == 3:
            needed = max((as_number(v) for n, v in read_fields(data, *as_stretch(value)) if n == 2), default=0)
    if needed > _VERSION:
        raise WireError(f"its format has version {needed}, which came after version {_VERSION}")
    if not 1 <= shards <= _MOST_SHARDS or order > 1:
        raise WireError("its header is damaged")
    return Header(shards, order == 1)


def read_entry(data: bytes) -> Entry:
    """Decode the value of a tensor's key (BundleEntryProto).

    Raises:
        WireError: where it is damaged.

    >>> read_entry(bytes([0x08, 1, 0x12, 4, 0x12, 2, 0x08, 3, 0x20, 8, 0x28, 12, 0x35, 1, 0, 0, 0]))
    Entry(dtype=1, shape=(3,), shard=0, offset=8, size=12, crc=1, slices=())
    """
    numbers = dict.fromkeys((1, 3, 4, 5, 6), 0)
    shape: tuple[int, ...] = ()
    slices = []
    for number, value in read_fields(data):
        if number in numbers:
            numbers[number] = as_number(value)
        elif number == 2:
            shape = _read_shape(data, *as_stretch(value))
        elif number == 7:
            slices.append(_read_slice(data, *as_stretch(value)))
    if any(count >= _MAX_NUMBER for count in numbers.values()):  # negative ones are so large
        raise WireError("a number is out of range")
    return Entry(numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], tuple(slices))


def _read_shape(data: bytes, at: int, end: int) -> tuple[int, ...]:
    sizes = []
    for number, value in read_fields(data, at, end):
        if number == 3 and value:
            raise WireError("a shape of unknown rank")
        if number == 2:
            size = 0
            for inner, content in read_fields(data, *as_stretch(value)):
                size = as_number(content) if inner == 1 else size
            if size >= _MAX_NUMBER:
                raise WireError("a size is out of range")
            sizes.append(size)
    return tuple(sizes)


def _read_slice(data: bytes, at: int, end: int) -> tuple[tuple[int, int], ...]:
    extents = []
    for number, value in read_fields(data, at, end):
        if number == 1:
            start, length = 0, -1
            for inner, content in read_fields(data, *as_stretch(value)):
                start = signed(as_number(content)) if inner == 1 else start
                length = signed(as_number(content)) if inner == 2 else length
            extents.append((start, length))
    return tuple(extents)


def slice_key(name: bytes, extents: Sequence[tuple[int, int]]) -> bytes:
    r"""Return the key of a slice (EncodeTensorNameSlice in tensorflow/core/util/saved_tensor_slice_util.cc).

    Args:
        name: the key of the whole tensor.
        extents: of each axis the first index and the count, -1 for all.

    Returns:
        Bytes that sort as names and numbers do.

    >>> slice_key(b"w", [(64, 32), (0, -1)])
    b'\x00w\x00\x01\x01\x02\xc0@\xa0\x80\x7f'
    """
    escaped = re.sub(rb"[\0\xff]", lambda found: b"\0\xff" if found[0] == b"\0" else b"\xff\0", name)
    axes = len(extents)
    count = axes.to_bytes((axes.bit_length() + 7) // 8, "big")
    numbers = b"".join(_ordered(number) for extent in extents for number in extent)
    return b"\0" + escaped + b"\0\1" + bytes([len(count)]) + count + numbers


def _ordered(value: int) -> bytes:
    """Write a signed number so that longer ones sort as larger (WriteSignedNumIncreasing in ordered_code.cc).

    The first bits count the bytes, as in UTF-8; the number follows in as many groups of 7 bits as it needs.
    """
    magnitude = ~value if value < 0 else value
    if magnitude < _SMALL:
        return bytes([0x80 ^ value & 0xFF])
    length = magnitude.bit_length() // 7 + 1
    mark = ((1 << length) - 1) << (8 * length - length)
    return ((value & (1 << 8 * length) - 1) ^ mark).to_bytes(length, "big")
