"""Write small TensorFlow checkpoints by hand, byte by byte, without TensorFlow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import ml_dtypes
import numpy as np

from tlx.convert.read import open_weights
from tlx.convert.tf_entries import DTYPES, slice_key
from tlx.convert.tf_table import MAGIC, mask_crc, masked_crc

NUMBERS = {name: number for number, (name, _) in DTYPES.items()}
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
ROW = np.arange(8, dtype=np.float32)
RANDOM = np.random.default_rng(0)
TENSORS = {
    "conv/kernel": RANDOM.normal(size=(3, 3, 2, 4)).astype(np.float32),
    "conv/bias": RANDOM.normal(size=4).astype(ml_dtypes.bfloat16),
    "norm/mean": RANDOM.normal(size=4).astype(np.float16),
    "steps": np.int64(7),
}


def varint(value: int) -> bytes:
    out = bytearray()
    value %= 1 << 64
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Write a message: numbers as varints, bytes with their length."""
    return b"".join(
        varint(number << 3 | 2) + varint(len(value)) + value
        if isinstance(value, bytes)
        else varint(number << 3) + varint(value)
        for number, value in fields
    )


def header(shards: int = 1, order: int = 0, needed: int = 0) -> bytes:
    return message((1, shards), (2, order), (3, message((1, 1), (2, needed))))


def extents(*axes: tuple[int, int | None]) -> bytes:
    """Write a slice: of each axis the first index and the count, None for all."""
    return message(*((1, message((1, start), *([] if count is None else [(2, count)]))) for start, count in axes))


def entry(
    dtype: int,
    shape: Sequence[int],
    offset: int = 0,
    size: int = 0,
    crc: int = 0,
    shard: int = 0,
    slices: Iterable[bytes] = (),
) -> bytes:
    sizes = message(*((2, message((1, n))) for n in shape))
    numbers = message((1, dtype), (2, sizes), (3, shard), (4, offset), (5, size))
    return numbers + b"\x35" + crc.to_bytes(4, "little") + message(*((7, part) for part in slices))


def block(entries: Mapping[bytes, bytes], *, shared: bool = True) -> bytes:
    """Write a block of sorted keys with one restart."""
    out, last = b"", b""
    for key, value in entries.items():
        same = 0
        while shared and same < min(len(key), len(last)) and key[same] == last[same]:
            same += 1
        out += varint(same) + varint(len(key) - same) + varint(len(value)) + key[same:] + value
        last = key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def sealed(content: bytes, kind: int = 0) -> bytes:
    """Write a block as it is in the file: with how it is packed, and its checksum."""
    return content + bytes([kind]) + masked_crc(content + bytes([kind])).to_bytes(4, "little")


def table_of(blocks: Sequence[tuple[bytes, bytes, int]]) -> bytes:
    """Write a table of blocks that are there: the last key of each, its bytes, and how they are packed."""
    out, handles = b"", {}
    for key, content, kind in blocks:
        handles[key] = varint(len(out)) + varint(len(content))
        out += sealed(content, kind)
    meta = len(out)
    out += sealed(empty := block({}))
    index = block(handles, shared=False)
    places = varint(meta) + varint(len(empty)) + varint(len(out)) + varint(len(index))
    return out + sealed(index) + places.ljust(40, b"\0") + MAGIC


def table(entries: Mapping[bytes, bytes], *, every: int = 1000, packed: bool = False) -> bytes:
    """Write a table, `every` so many keys a block."""
    items = sorted(entries.items())
    parts = [dict(items[at : at + every]) for at in range(0, len(items), every)]
    pack = literal if packed else bytes
    return table_of([(max(part), pack(block(part)), int(packed)) for part in parts])


def literal(content: bytes) -> bytes:
    """Pack bytes as snappy does what nothing in it repeats."""
    out = varint(len(content))
    for at in range(0, len(content), 1 << 16):
        piece = content[at : at + (1 << 16)]
        out += bytes([61 << 2]) + (len(piece) - 1).to_bytes(2, "little") + piece
    return out


def text_tensor(text: bytes) -> tuple[bytes, int]:
    """Write a tensor of one text; return its bytes and its masked checksum."""
    crc = google_crc32c.value(len(text).to_bytes(4, "little"))
    check = mask_crc(crc).to_bytes(4, "little")
    crc = google_crc32c.extend(google_crc32c.extend(crc, check), text)
    return varint(len(text)) + check + text, mask_crc(crc)


def object_graph(names: Mapping[str, str]) -> bytes:
    """Write an object graph, of full names by key, whose objects all refer to the next one, the last to the first."""
    nodes = []
    for place, (key, name) in enumerate(names.items()):
        child = message((1, (place + 1) % len(names)), (2, b"child"))
        attribute = message((1, b"VARIABLE_VALUE"), (2, name.encode()), (3, key.encode()))
        nodes.append((1, message((1, child), (2, attribute))))
    return message(*nodes)


@dataclass
class Checkpoint:
    """What a checkpoint is made of, to be changed before it is written: the index's entries, the shards' bytes."""

    entries: dict[bytes, bytes] = field(default_factory=lambda: {b"": header()})
    shards: list[bytes] = field(default_factory=lambda: [b""])

    def add(self, key: bytes, array: np.ndarray, *, big_endian: bool = False) -> None:
        plain = array.view("u2") if array.dtype == ml_dtypes.bfloat16 else array
        stored = plain.byteswap() if big_endian else plain
        self.add_bytes(key, NUMBERS[array.dtype.name], array.shape, stored.tobytes())

    def add_bytes(self, key: bytes, dtype: int, shape: Sequence[int], content: bytes, crc: int | None = None) -> None:
        """Append bytes to the last shard, and list them."""
        crc = masked_crc(content) if crc is None else crc
        last = len(self.shards) - 1
        self.entries[key] = entry(dtype, shape, len(self.shards[last]), len(content), crc, last)
        self.shards[last] += content

    def add_slices(self, name: str, array: np.ndarray, places: Sequence[tuple[int, int]], axis: int = 0) -> None:
        """Add a tensor in slices along an axis, of each the first index and the count."""
        parts = []
        for start, count in places:
            own = [(0, -1)] * array.ndim
            own[axis] = (start, count)
            self.add(slice_key(name.encode(), own), np.take(array, range(start, start + count), axis))
            parts.append(extents(*((first, None if n == -1 else n) for first, n in own)))
        self.entries[name.encode()] = entry(NUMBERS[array.dtype.name], array.shape, slices=parts)

    def add_graph(self, graph: bytes) -> None:
        content, crc = text_tensor(graph)
        self.add_bytes(GRAPH, 7, (), content, crc)

    def write(self, folder: Path, name: str = "model.ckpt", **how: Any) -> Path:
        """Write the files; return the path of the index."""
        if len(self.shards) > 1:
            self.entries[b""] = header(len(self.shards))
        for number, content in enumerate(self.shards):
            (folder / f"{name}.data-{number:05d}-of-{len(self.shards):05d}").write_bytes(content)
        index = folder / f"{name}.index"
        index.write_bytes(table(self.entries, **how))
        return index


def sample() -> Checkpoint:
    """Make a checkpoint as TensorFlow 2 writes one, with a partitioned tensor beside `TENSORS`."""
    made = Checkpoint()
    names = {}
    for place, (name, array) in enumerate(TENSORS.items()):
        names[f"layers/{place}{VALUE}"] = name
        made.add(f"layers/{place}{VALUE}".encode(), np.asarray(array))
    made.add_slices("table", np.arange(12, dtype=np.float32).reshape(6, 2), [(0, 4), (4, 2)])
    made.add_graph(object_graph(names))
    return made


def write_row(folder: Path, change: Callable[[Checkpoint], Any] = lambda made: None, **how: Any) -> Path:
    """Write a checkpoint of one row, 'w', changed by a function; return its index."""
    made = Checkpoint()
    made.add(b"w", ROW)
    change(made)
    return made.write(folder, **how)


def read_all(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in open_weights(path).tensors.items()}


def same(array: np.ndarray, expected: np.ndarray) -> bool:
    """Tell whether arrays have the same bits, once the first has the type of the second."""
    return array.shape == expected.shape and array.astype(expected.dtype).tobytes() == expected.tobytes()
