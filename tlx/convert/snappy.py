"""Unpack a block of snappy, the raw format without frames."""

from __future__ import annotations

from tlx.convert.wire import WireError, read_varint
from tlx.errors import UnsafeFileError

_MOST = 22  # bytes that one byte can become: three bytes copy 64 at most


def unpack_snappy(data: bytes, limit: int, where: str) -> bytes:
    """Unpack one block; nothing is allocated on the word of its header.

    Args:
        data: the packed block: its unpacked length, then literals and copies of what came before
            (google/snappy, format_description.txt).
        limit: how many bytes it may become.
        where: what it is of, for messages.

    Returns:
        The bytes, as many as the header says.

    Raises:
        UnsafeFileError: where it claims more than `limit`, or more than so few bytes can become.
        WireError: where it is damaged.

    >>> unpack_snappy(bytes([9, 0x08]) + b"abc" + bytes([0x09, 0x03]), 100, "a block")
    b'abcabcabc'
    """
    length, at = read_varint(data, 0, len(data))
    if length > min(limit, _MOST * len(data)):
        raise UnsafeFileError(f"{where}: {len(data)} bytes claim to become {length}, as none that are real do; refused")
    out = bytearray()
    end = len(data)
    while at < end:
        tag = data[at]
        at += 1
        kind, size = tag & 3, (tag >> 2) + 1
        if kind == 0:
            extra = max(0, size - 60)  # from 60 on, so many bytes hold the length
            if extra:
                size = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            if size > end - at:
                raise WireError("a literal reaches past its block")
            out += data[at : at + size]
            at += size
        else:
            width = (1, 2, 4)[kind - 1]
            if width > end - at:
                raise WireError("a copy reaches past its block")
            offset = int.from_bytes(data[at : at + width], "little")
            at += width
            if kind == 1:
                size, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | offset
            if not 0 < offset <= len(out):
                raise WireError(f"a copy of what stands {offset} bytes before the beginning")
            start = len(out) - offset
            piece = out[start : start + size]  # shorter than `size` where the copy runs into itself
            out += (piece * (size // len(piece) + 1))[:size]
        if len(out) > length:
            break
    if len(out) != length:
        raise WireError(f"a block of {length} bytes became {len(out)}")
    return bytes(out)
