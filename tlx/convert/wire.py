"""Decode the wire format of Protocol Buffers: varints, and the fields of one message."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_LONGEST = 10  # bytes of a varint of 64 bits


class WireError(Exception):
    """Say that bytes are no message; who knows the file catches it and names that."""


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, the lowest first; return it and where it ends.

    Args:
        data: the bytes.
        at: where the number begins.
        end: where the bytes that belong to it end at the latest.

    Returns:
        The number, at least 0 and below 2**64, and the position behind it.

    Raises:
        WireError: where it reaches past `end` or beyond 64 bits.

    >>> read_varint(bytes([0xAC, 0x02]), 0, 2)
    (300, 2)
    """
    value = shift = 0
    for place in range(at, min(end, at + _LONGEST)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, place + 1
        shift += 7
    raise WireError(f"no number at byte {at}")


def signed(value: int) -> int:
    """Take a varint for a signed number of 64 bits.

    >>> signed((1 << 64) - 1), signed(3)
    (-1, 3)
    """
    return value - (1 << 64) if value >> 63 else value


def read_fields(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[int, int | slice]]:
    """Yield the fields of a message in order, without those of the messages within it.

    Args:
        data: the bytes, in which the message is a stretch.
        at: where it begins.
        end: where it ends; None for the end of the bytes.

    Yields:
        The number of the field, and its value: a number (varint, fixed32, fixed64), or where its bytes stand in
        `data`, which a nested message is read from with another call.

    Raises:
        WireError: where a field reaches past the message, or is of a type that the format has no more (groups).

    >>> list(read_fields(bytes([0x08, 0x05, 0x12, 0x02, 0x68, 0x69])))
    [(1, 5), (2, slice(4, 6, None))]
    """
    end = len(data) if end is None else end
    while at < end:
        tag, at = read_varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = read_varint(data, at, end)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = read_varint(data, at, end)
        elif kind in _WIDTHS:
            length = _WIDTHS[kind]
        else:
            raise WireError(f"field {number} at byte {at} is of no type that is known")
        if length > end - at:
            raise WireError(f"field {number} reaches {length - (end - at)} bytes past the message")
        yield number, slice(at, at + length) if kind == _BYTES else int.from_bytes(data[at : at + length], "little")
        at += length


def as_number(value: int | slice) -> int:
    """Return a field's value that must be a number; raise `WireError` where it is bytes."""
    if isinstance(value, slice):
        raise WireError("bytes stand where a number belongs")
    return value


def as_stretch(value: int | slice) -> tuple[int, int]:
    """Return where the bytes of a field begin and end; raise `WireError` where it is a number.

    >>> as_stretch(slice(4, 6))
    (4, 6)
    """
    if not isinstance(value, slice):
        raise WireError("a number stands where bytes belong")
    return value.start, value.stop
