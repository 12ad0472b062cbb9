"""Write checkpoints as TensorFlow does (TensorBundle), without it: a file of numbers, and an index of names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tlx.convert.source import Tensor
from tlx.convert.tf_entries import DTYPES
from tlx.convert.tf_table import MAGIC, masked_crc

BLOCK = 4096  # bytes of a block of the index, about
_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # kinds of fields of a message
_NUMBERS = {name: number for number, (name, _) in DTYPES.items()}


def write_tf_checkpoint(path: Path, tensors: Sequence[Tensor]) -> None:
    """Write tensors as a checkpoint of one shard, one tensor at a time in memory.

    (tensorflow/core/protobuf/tensor_bundle.proto; the index is a table of LevelDB's.)

    Args:
        path: where, without a suffix: `PATH.index` and `PATH.data-00000-of-00001` are written.
        tensors: of types that TensorFlow has; their names become the keys.

    Raises:
        OSError: where a file cannot be written.
    """
    header = _message((1, 1), (3, _message((1, 1))))  # of one shard, in version 1
    entries = {b"": header}
    with path.with_name(f"{path.name}.data-00000-of-00001").open("wb") as file:
        for tensor in sorted(tensors, key=lambda each: each.name.encode()):
            content = np.ascontiguousarray(tensor.read()).reshape(-1).view(np.uint8)
            entries[tensor.name.encode()] = _entry(tensor, file.tell(), content)
            file.write(content.data)
    path.with_name(f"{path.name}.index").write_bytes(_table(entries))


def _entry(tensor: Tensor, offset: int, content: np.ndarray) -> bytes:
    shape = _message(*((2, _message((1, length))) for length in tensor.shape))
    checksum = _varint(6 << 3 | _FIXED32) + masked_crc(content).to_bytes(4, "little")
    return _message((1, _NUMBERS[tensor.dtype]), (2, shape), (4, offset), (5, len(content))) + checksum


def _varint(value: int) -> bytes:
    """Write a number of 7 bits a byte, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _message(*fields: tuple[int, int | bytes]) -> bytes:
    """Write a message of Protocol Buffers; numbers that are 0 are left out, as there."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, bytes):
            encoded += _varint(number << 3 | _BYTES) + _varint(len(value)) + value
        elif value:
            encoded += _varint(number << 3 | _VARINT) + _varint(value)
    return encoded


def _blocks(entries: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the last key of each block, and the block; `entries` are in ascending order of keys."""
    content, last = b"", b""
    for key, value in entries.items():
        content += _row(key, value)
        last = key
        if len(content) >= BLOCK:
            yield last, content + _restarts()
            content = b""
    if content or not entries:
        yield last, content + _restarts()


def _row(key: bytes, value: bytes) -> bytes:
    return _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value  # 0: shares nothing with the key before


def _restarts() -> bytes:
    """Close a block: its keys can be read from its beginning, and from nowhere else."""
    return (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def _table(entries: Mapping[bytes, bytes]) -> bytes:
    """Write a table of LevelDB's: blocks, an empty block of what is said of them, their index, and where these are."""
    table, places = b"", {}

    def place(content: bytes) -> bytes:
        nonlocal table
        handle = _varint(len(table)) + _varint(len(content))
        plain = content + b"\0"  # 0: not packed
        table += plain + masked_crc(plain).to_bytes(4, "little")
        return handle

    for last, content in _blocks(entries):
        places[last] = place(content)
    meta = place(_restarts())
    index = place(b"".join(_row(*each) for each in places.items()) + _restarts())
    return table + (meta + index).ljust(40, b"\0") + MAGIC
