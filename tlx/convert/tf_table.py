"""Read a table of LevelDB's format, which TensorFlow keeps the index of a checkpoint in: sorted keys with values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.convert.snappy import unpack_snappy
from tlx.convert.wire import WireError, read_varint
from tlx.errors import WeightsError
from tlx.files.opening import MAX_TENSORS, RegularFile, shown

MAGIC = bytes.fromhex("57fb808b247547db")
"""What the tables of LevelDB and TensorFlow end with."""

_FOOTER = 48  # two handles, filled up with zeros, and the magic
_TRAILER = 5  # behind each block: how it is packed, and its checksum
_PLAIN, _SNAPPY = 0, 1
_MAX_BYTES = 32 << 20  # of a table, and of all its blocks unpacked; one of 100,000 tensors has about 10 MB
_MAX_KEY = 4096


def mask_crc(crc: int) -> int:
    """Mask a CRC32C as LevelDB and TensorFlow store it, so that checksums of checksums stay useful.

    >>> hex(mask_crc(0))
    '0xa282ead8'
    """
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc(content: bytes | np.ndarray) -> int:
    """Return the masked CRC32C of bytes, or of a contiguous array of them.

    >>> hex(masked_crc(b"123456789"))
    '0xc78ab0e5'
    """
    import google_crc32c

    return mask_crc(google_crc32c.value(content))


def is_table(file: RegularFile) -> bool:
    """Tell by its last bytes whether a file is such a table."""
    return file.size >= _FOOTER and file.read(file.size - len(MAGIC), len(MAGIC)).tobytes() == MAGIC


def read_table(file: RegularFile) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys of a table with their values, in ascending order; each block's checksum is checked first.

    Args:
        file: the table.

    Yields:
        A key and its value.

    Raises:
        WeightsError: for a table that is damaged, has a key twice, or more bytes or keys than any index of weights.
        UnsafeFileError: for a packed block that claims more than so few bytes can become.
    """
    if file.size > _MAX_BYTES:
        raise WeightsError(f"{shown(file.path)}: an index of {file.size} bytes; no checkpoint has so large a one")
    content = file.read(0, file.size).tobytes()
    try:
        yield from _read_blocks(content, file)
    except WireError as error:
        raise file.fault(f"a damaged index, {error}") from error


def _read_blocks(content: bytes, file: RegularFile) -> Iterator[tuple[bytes, bytes]]:
    end = len(content) - _FOOTER
    if end < 0 or not content.endswith(MAGIC):
        raise WireError("without the magic number at its end")
    room = _MAX_BYTES
    meta, at = _read_handle(content, end, len(content) - len(MAGIC))
    index, _ = _read_handle(content, at, len(content) - len(MAGIC))
    _unpack_block(content, meta, end, room, file)  # says nothing of what is needed, but must be whole
    blocks = list(_read_entries(_unpack_block(content, index, end, room, file)))
    behind, last, count = 0, None, 0
    for _, handle in blocks:
        place, _ = _read_handle(handle, 0, len(handle))
        if place[0] < behind:  # or a few blocks could stand for many
            raise WireError("its blocks are out of order")
        behind = sum(place) + _TRAILER
        block = _unpack_block(content, place, end, room, file)
        room -= len(block)
        for key, value in _read_entries(block):
            if last is not None and key <= last:
                raise WireError("its keys are out of order")
            last, count = key, count + 1
            if count > MAX_TENSORS:
                raise WeightsError(
                    f"{shown(file.path)}: lists more than {MAX_TENSORS} tensors; no weight file has so many"
                )
            yield key, value


def _read_handle(data: bytes, at: int, end: int) -> tuple[tuple[int, int], int]:
    """Read where a block begins and its size, and return with it where the handle ends."""
    offset, at = read_varint(data, at, end)
    size, at = read_varint(data, at, end)
    return (offset, size), at


def _unpack_block(content: bytes, place: tuple[int, int], end: int, room: int, file: RegularFile) -> bytes:
    """Check a block and unpack it; `end` is where blocks end in the file, `room` how many bytes it may become."""
    offset, size = place
    if offset + size + _TRAILER > end:
        raise WireError(f"a block of {size} bytes at {offset} reaches past its end")
    block, kind = content[offset : offset + size], content[offset + size]
    stored = int.from_bytes(content[offset + size + 1 : offset + size + _TRAILER], "little")
    if masked_crc(content[offset : offset + size + 1]) != stored:
        raise WireError(f"the CRC of the block at byte {offset} does not hold")
    if kind == _SNAPPY:
        return unpack_snappy(block, room, f"{shown(file.path)}: the block at byte {offset}")
    if kind != _PLAIN:
        raise WireError(f"the block at byte {offset} is packed by method {kind}, which no checkpoint is")
    return block


def _read_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of one block; a key is told by how much it shares with the one before, and the rest."""
    restarts = int.from_bytes(block[-4:], "little")  # places where nothing is shared, for a search
    end = len(block) - 4 - 4 * restarts
    if len(block) < 4 or end < 0:
        raise WireError("a block ends early")
    key, at = b"", 0
    while at < end:
        shared, at = read_varint(block, at, end)
        fresh, at = read_varint(block, at, end)
        size, at = read_varint(block, at, end)
        if shared > len(key) or fresh + size > end - at:
            raise WireError("a key or a value reaches past its block")
        if shared + fresh > _MAX_KEY:
            raise WireError(f"a key of {shared + fresh} bytes, where names have at most {_MAX_KEY}")
        key = key[:shared] + block[at : at + fresh]
        at += fresh + size
        yield key, block[at - size : at]
