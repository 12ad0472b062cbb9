"""Read the idx format of MNIST and EMNIST, plain or gzip, trusting nothing in it."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from typing import BinaryIO

import numpy as np

from tlx.errors import DataError
from tlx.files.opening import DEFLATE_LIMIT, MAX_UNPACKED, one_line, open_regular, shown
from tlx.files.true_type import true_type

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_UNPACKED) -> np.ndarray:
    """Read an idx file, gzip or plain by its content and not by its name.

    Returns an array of the file's shape and type in the machine's byte order. A wrong magic number, a count that
    disagrees with the payload, truncation, trailing bytes, a failed gzip checksum and a header that promises more
    than the file can hold or than `max_bytes` each raise a `DataError` naming the file; memory grows only with
    bytes that are really there. The format: Y. LeCun, "The MNIST database", section "the idx file format".

    >>> import struct, tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(struct.pack(">HBBI", 0, 8, 1, 3) + bytes([7, 2, 1]))
    ...     file.flush()
    ...     read_idx(file.name)
    array([7, 2, 1], dtype=uint8)
    """
    name = shown(path)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(64)
        file.seek(0)
        try:
            if head.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read(stream, name, min(size * DEFLATE_LIMIT, max_bytes), max_bytes)
            return _read(file, name, min(size, max_bytes), max_bytes)
        except EOFError as error:
            raise DataError(f"{name}: truncated: the gzip stream has no end; fetch the file again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{name}: damaged gzip file ({one_line(error)}); fetch the file again") from error
        except OSError as error:
            raise DataError(f"{name}: cannot be read ({one_line(error)}); check the disk") from error


def holds_idx(file: BinaryIO) -> bool:
    """Tell by the first bytes of an open file whether it may be an idx file, plain or in gzip.

    Damaged gzip may be one: `read_idx` says what is wrong with it.

    >>> import io
    >>> [holds_idx(io.BytesIO(head)) for head in (bytes([0, 0, 8, 3]), bytes(4), gzip.compress(b"text"))]
    [True, False, False]
    """
    head = file.read(4)
    if head.startswith(b"\x1f\x8b"):
        file.seek(0)
        try:
            head = gzip.GzipFile(fileobj=file).read(4)
        except (EOFError, OSError, zlib.error):
            return True
    return head[:2] == b"\0\0" and head[2:3] in map(bytes, zip(_DTYPES))


def _read(stream: BinaryIO | gzip.GzipFile, name: str, limit: int, max_bytes: int) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 1 <= magic[3] <= 8:
        raise DataError(
            f"{name}: not an idx file but {true_type(magic + stream.read(60))}; "
            "an idx file starts with 0x0000, a type (0x08 to 0x0e) and 1 to 8 dimensions"
        )
    dtype, ndim = np.dtype(_DTYPES[magic[2]]), magic[3]
    header = stream.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise DataError(f"{name}: truncated in the header: {ndim} sizes announced; fetch the file again")
    shape = struct.unpack(f">{ndim}I", header)
    item = math.prod(shape[1:]) * dtype.itemsize
    expected = shape[0] * item
    text = " x ".join(map(str, shape))
    if expected > max_bytes:
        raise DataError(f"{name}: the header announces {text} values, {expected} bytes, over the limit of {max_bytes}")
    if expected > limit:
        raise DataError(
            f"{name}: the header announces {text} values, {expected} bytes, more than the file can hold: "
            "truncated or a wrong count; fetch the file again"
        )
    payload = bytearray()
    while len(payload) < expected:
        chunk = stream.read(min(_CHUNK, expected - len(payload)))
        if not chunk:
            raise DataError(
                f"{name}: the header announces {text} values but the data ends in row {len(payload) // item}, "
                f"after {len(payload)} of {expected} bytes; fetch the file again"
            )
        payload += chunk
    if stream.read(1):
        raise DataError(f"{name}: bytes follow the {text} values that the header announces; fetch the file again")
    try:
        array = np.frombuffer(payload, dtype).reshape(shape)
    except ValueError as error:  # sizes such as 0 x 2^32-1 x 2^32-1
        raise DataError(f"{name}: impossible sizes {text} in the header; fetch the file again") from error
    return array.astype(dtype.newbyteorder("="), copy=False)
