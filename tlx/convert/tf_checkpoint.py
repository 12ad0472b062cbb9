"""List the tensors of a TensorFlow checkpoint, of versions 1 and 2 and in SavedModels, without TensorFlow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tlx.convert.element_types import check_shape, numpy_type, to_array
from tlx.convert.source import Source, Tensor
from tlx.convert.tf_entries import STRING, Entry, Header, read_entry, read_header, slice_key
from tlx.convert.tf_object_graph import GRAPH_KEY, full_names
from tlx.convert.tf_table import mask_crc, masked_crc, read_table
from tlx.convert.wire import WireError, read_varint
from tlx.errors import WeightsError
from tlx.files.opening import RegularFile, shown

_SHARD = re.compile(r"(?P<prefix>.+)\.data-\d{5}-of-\d{5}")
_OTHERS = (STRING, 20, 21)  # texts; handles and variants, which no number is in
_MAX_GRAPH = 64 << 20


@dataclass(frozen=True)
class _Shards:
    """The data files beside an index, by their number; one that is missing is named when it is needed."""

    prefix: Path
    header: Header
    files: dict[int, RegularFile]

    def path(self, number: int) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.data-{number:05d}-of-{self.header.shards:05d}")

    def file(self, number: int) -> RegularFile:
        if number not in self.files:
            path = self.path(number)
            raise WeightsError(f"{shown(self.prefix)}.index: the TensorFlow checkpoint lacks {shown(path)}; fetch it")
        return self.files[number]


def find_index(path: Path) -> Path:
    """Find the index of the TensorFlow checkpoint that a data shard or the prefix of its files names.

    Args:
        path: what a user named: 'model.ckpt.data-00000-of-00001', or 'model.ckpt' where no file is called so.

    Returns:
        The path of the index, or any other path as it is.

    Raises:
        WeightsError: for a data shard without its index.

    >>> find_index(Path("model.pth")).name
    'model.pth'
    """
    shard = _SHARD.fullmatch(path.name)
    if not shard and (not path.name or os.path.exists(path)):
        return path
    index = path.with_name(f"{shard['prefix'] if shard else path.name}.index")
    if os.path.isfile(index):
        return index
    if shard and os.path.exists(path):
        raise WeightsError(f"{shown(path)}: data of a TensorFlow checkpoint without {shown(index)}; fetch that file")
    return path


def read_tf_checkpoint(index: RegularFile) -> Source:
    """List the tensors of a checkpoint by its index (NAME.index); the shards (NAME.data-00000-of-00001) are beside it.

    Names are the full names that the object graph of TensorFlow 2 gives (`full_names`), and the keys of the index
    elsewhere. Partitioned tensors are joined. Where a shard is missing, all are listed still (by their keys, where the
    graph is in that shard), and reading one raises the error. Texts are among `others`, the object graph too; quantized
    tensors are listed, and reading one raises `WeightsError`.

    Args:
        index: the index, a table that `is_table` knows.

    Returns:
        The source, in the order of the index.

    Raises:
        WeightsError: for an index that is damaged, whose tensors overlap, or reach past the end of a shard; and from
            `Tensor.read` for a shard that is missing or a tensor whose CRC32C does not hold.
        UnsafeFileError: for a packed block that claims more than it can hold.
    """
    header, entries = _read_index(index)
    slices = {key: entry for key, entry in entries.items() if key.startswith(b"\0")}
    whole = {_decode(key, index): entry for key, entry in entries.items() if key not in slices}
    shards = _open_shards(index, header, entries.values())
    names = _names(index, shards, whole)
    tensors: dict[str, Tensor] = {}
    others = []
    for key, entry in whole.items():
        if entry.dtype in _OTHERS:
            others.append(key)
            continue
        label = f"{shown(index.path)}: tensor '{shown(names[key])}'"
        check_shape(entry.shape, 8, label)
        if entry.slices:
            parts, axis = _join(key, entry, slices, label)
            read = partial(_read_parts, shards, entry, parts, axis, label)
        elif not entry.fills:
            raise WeightsError(
                f"{label}: shape {entry.shape} of {entry.type_name} does not fill {entry.size} bytes; damaged"
            )
        else:
            read = partial(_read_array, shards, entry, label)
        tensors[names[key]] = Tensor(names[key], entry.shape, entry.type_name, read)
    if slices:
        raise index.fault(f"{len(slices)} slices belong to no tensor of it")
    files = (index.path, *(file.path for _, file in sorted(shards.files.items())))
    return Source(index.path, "tf", tensors, others=tuple(others), files=files)


def _read_index(index: RegularFile) -> tuple[Header, dict[bytes, Entry]]:
    """Decode all entries of an index, those of slices too."""
    table = read_table(index)
    try:
        key, value = next(table, (None, b""))
        if key != b"":
            raise WireError("it has no header")
        header = read_header(value)
        entries = {key: read_entry(value) for key, value in table}
    except WireError as error:
        raise index.fault(f"a damaged index of a TensorFlow checkpoint, {error}") from error
    return header, entries


def _decode(key: bytes, index: RegularFile) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise index.fault(f"the name '{shown(ascii(key)[2:-1])}' is no UTF-8") from error


def _open_shards(index: RegularFile, header: Header, entries: Iterable[Entry]) -> _Shards:
    """Look at the shards that are there; raise `WeightsError` for stretches that overlap or reach past the end."""
    shards = _Shards(index.path.with_name(index.path.name.removesuffix(".index")), header, {})
    ends: dict[int, int] = {}
    stored = [entry for entry in entries if not entry.slices]
    for entry in sorted(stored, key=lambda entry: (entry.shard, entry.offset, entry.size)):
        if entry.shard >= header.shards:
            raise index.fault(f"a tensor is in shard {entry.shard} of {header.shards}")
        if entry.offset < ends.get(entry.shard, 0):
            raise index.fault(f"its tensors overlap at byte {entry.offset} of shard {entry.shard}")
        ends[entry.shard] = entry.offset + entry.size
    for number, end in ends.items():
        path = shards.path(number)
        if not os.path.exists(path):
            continue
        file = RegularFile.at(path)
        if end > file.size:
            raise file.fault(f"its tensors end at byte {end}, the file at {file.size}: it is cut short or damaged")
        shards.files[number] = file
    return shards


def _names(index: RegularFile, shards: _Shards, entries: dict[str, Entry]) -> dict[str, str]:
    """Name each tensor, by the object graph where there is one."""
    graph = entries.get(GRAPH_KEY)
    if graph is None or graph.dtype != STRING or graph.shard not in shards.files:
        return {key: key for key in entries}
    keys = [key for key, entry in entries.items() if entry.dtype not in _OTHERS]
    try:
        return {key: key for key in entries} | full_names(_read_text(shards, graph), keys)
    except WireError as error:
        raise index.fault(f"a damaged object graph, {error}") from error


def _read_text(shards: _Shards, entry: Entry) -> bytes:
    """Read a tensor of one text: its length, the checksum of that, the text (WriteStringTensor in tensor_bundle.cc)."""
    import google_crc32c

    if entry.shape or entry.size > _MAX_GRAPH:
        raise WireError(f"a text of shape {shown(str(entry.shape))} in {entry.size} bytes")
    content = shards.file(entry.shard).read(entry.offset, entry.size).tobytes()
    length, at = read_varint(content, 0, len(content))
    crc = google_crc32c.value(length.to_bytes(4 if length < 1 << 32 else 8, "little"))
    crc = google_crc32c.extend(google_crc32c.extend(crc, mask_crc(crc).to_bytes(4, "little")), content[at + 4 :])
    if length != len(content) - at - 4 or mask_crc(crc) != entry.crc:
        raise WireError("its CRC does not hold")
    return content[at + 4 :]


def _join(key: str, entry: Entry, slices: dict[bytes, Entry], label: str) -> tuple[list[Entry], int]:
    """Take the slices of a partitioned tensor out of `slices`, in order along the axis that it is partitioned by."""
    whole = [(0, size) for size in entry.shape]
    placed = []
    for extents in entry.slices:
        if len(extents) != len(whole) or not whole:
            raise WeightsError(f"{label}: its slices have other axes than it; damaged")
        exact = [
            (start, size if count == -1 else count) for (start, count), size in zip(extents, entry.shape, strict=True)
        ]
        placed.append((exact, slices.pop(slice_key(key.encode(), extents), None)))
    axes = {axis for exact, _ in placed for axis, extent in enumerate(exact) if extent != whole[axis]} or {0}
    if len(axes) > 1:
        raise WeightsError(f"{label}: partitioned along several axes, which is not read; save it in one piece")
    axis = axes.pop()
    filled, parts = 0, []
    for exact, part in sorted(placed, key=lambda each: each[0]):
        start, count = exact[axis]
        if start != filled or count < 0:
            raise WeightsError(f"{label}: its slices overlap or leave a gap at {filled} of axis {axis}; damaged")
        if part is None or part.slices or part.dtype != entry.dtype or part.shape != tuple(n for _, n in exact):
            raise WeightsError(f"{label}: the slice at {start} of axis {axis} is missing or another; damaged")
        if not part.fills:
            raise WeightsError(f"{label}: the slice at {start} of axis {axis} does not fill its bytes; damaged")
        filled += count
        parts.append(part)
    if filled != entry.shape[axis]:
        raise WeightsError(f"{label}: its slices end at {filled} of {entry.shape[axis]} on axis {axis}; damaged")
    return parts, axis


def _read_array(shards: _Shards, entry: Entry, label: str) -> np.ndarray:
    dtype = numpy_type(entry.type_name, label)
    content = shards.file(entry.shard).read(entry.offset, entry.size)
    if masked_crc(content) != entry.crc:
        raise WeightsError(f"{label}: its CRC does not hold in {shown(shards.path(entry.shard))}; fetch the file again")
    return to_array(content, dtype, big_endian=shards.header.big_endian).reshape(entry.shape)


def _read_parts(shards: _Shards, entry: Entry, parts: list[Entry], axis: int, label: str) -> np.ndarray:
    dtype = numpy_type(entry.type_name, label)
    for part in parts:
        shards.file(part.shard)  # all bytes are there, before room is made for them
    array = np.empty(entry.shape, dtype)
    at = 0
    for part in parts:
        stop = at + part.shape[axis]
        array[(slice(None),) * axis + (slice(at, stop),)] = _read_array(shards, part, label)
        at = stop
    return array
