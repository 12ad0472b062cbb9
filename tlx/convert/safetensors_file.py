"""List the tensors of a safetensors file, or of the shards that an index names."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np

from tlx.convert.element_types import check_shape, numpy_type, to_array
from tlx.convert.source import Source, Tensor
from tlx.errors import UnsafeFileError, WeightsError
from tlx.files.opening import MAX_TENSORS, RegularFile, one_line, shown

_MAX_HEADER = 100_000_000  # the format's own limit
_MAX_BRACKETS = 3 * MAX_TENSORS  # an entry has one brace and two brackets; metadata may hold some in its strings
_MAX_NUMBER = 1 << 60
_BITS = {
    "F64": ("float64", 64),
    "F32": ("float32", 32),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "C64": ("complex64", 64),
    "I64": ("int64", 64),
    "I32": ("int32", 32),
    "I16": ("int16", 16),
    "I8": ("int8", 8),
    "U64": ("uint64", 64),
    "U32": ("uint32", 32),
    "U16": ("uint16", 16),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
    "F8_E4M3": ("F8_E4M3", 8),
    "F8_E5M2": ("F8_E5M2", 8),
    "F8_E8M0": ("F8_E8M0", 8),
    "F8_E4M3FNUZ": ("F8_E4M3FNUZ", 8),
    "F8_E5M2FNUZ": ("F8_E5M2FNUZ", 8),
    "F6_E2M3": ("F6_E2M3", 6),
    "F6_E3M2": ("F6_E3M2", 6),
    "F4": ("F4", 4),
}


def read_safetensors(file: RegularFile) -> Source:
    """List the tensors of one file; its metadata are the source's `config`.

    Raises `WeightsError` for a header that is too long, lists a tensor twice, or whose tensors do not fill the file
    without gap and overlap, as the format demands. Quantized tensors are listed; reading one raises `WeightsError`.

    >>> import tempfile, safetensors.numpy
    >>> from pathlib import Path
    >>> with tempfile.NamedTemporaryFile(suffix=".safetensors") as saved:
    ...     safetensors.numpy.save_file({"fc.bias": np.zeros(3, np.float32)}, saved.name)
    ...     read_safetensors(RegularFile.at(Path(saved.name))).tensors["fc.bias"].shape
    (3,)
    """
    where = shown(file.path)
    length = int.from_bytes(file.read(0, min(8, file.size)).tobytes(), "little")
    if length > _MAX_HEADER:
        raise WeightsError(f"{where}: announces a header of {length} bytes, more than the format's {_MAX_HEADER}")
    header = _read_json(file, 8, length)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise WeightsError(f"{where}: damaged metadata; fetch the file again")
    start = 8 + length
    tensors: dict[str, Tensor] = {}
    stretches = []
    for name, entry in header.items():
        label = f"{where}: tensor '{shown(name)}'"
        dtype, shape, begin, end = _check_entry(entry, label)
        stretches.append((begin, end))
        read = partial(_read_tensor, file, start + begin, end - begin, dtype, shape, label)
        tensors[name] = Tensor(name, shape, dtype, read)
    filled = 0
    for begin, end in sorted(stretches):
        if begin != filled:
            raise WeightsError(f"{where}: its tensors overlap or leave a gap at byte {filled} of the data; damaged")
        filled = end
    if start + filled != file.size:
        raise WeightsError(
            f"{where}: its tensors end at byte {start + filled}, the file at {file.size}; it is cut short or damaged: "
            "fetch it again"
        )
    return Source(file.path, "safetensors", tensors, config=metadata, files=(file.path,))


def read_safetensors_index(index: RegularFile) -> Source:
    """List the tensors of the shards that a `model.safetensors.index.json` names, which stand beside it.

    Raises `UnsafeFileError` for a shard that is not the plain name of a file, `WeightsError` for a shard that is
    missing and for tensors that are not in the shard, or not in the index, where they should be.
    """
    where = shown(index.path)
    content = _read_json(index, 0, index.size)
    placed = content.get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(shard, str) for shard in placed.values()):
        raise WeightsError(f"{where}: a JSON file without the weight_map of a safetensors index; name a weight file")
    shards = list(dict.fromkeys(placed.values()))
    for shard in shards:
        if not shard or shard.startswith(".") or any(c in shard for c in "/\\:\0"):
            raise UnsafeFileError(f"{where}: shard '{shown(shard)}' is not the plain name of a file; refused")
    tensors: dict[str, Tensor] = {}
    files = [index.path]
    for shard in shards:
        files.append(index.path.with_name(shard))
        listed = read_safetensors(RegularFile.at(files[-1])).tensors
        expected = {name for name, of in placed.items() if of == shard}
        if expected != set(listed):
            name = min(expected ^ set(listed))
            lacks = "the shard lacks it" if name in expected else "the index does not place it there"
            raise WeightsError(f"{shown(files[-1])}: tensor '{shown(name)}': {lacks}; fetch index and shards again")
        tensors.update(listed)
    ordered = {name: tensors[name] for name in placed}
    metadata = content.get("metadata")
    config = metadata if isinstance(metadata, dict) else {}
    return Source(index.path, "safetensors", ordered, config=config, files=tuple(files))


def _read_json(file: RegularFile, offset: int, length: int) -> dict[str, Any]:
    """Read a JSON object, each key once; its size and its brackets are counted before anything is made of them."""
    where = shown(file.path)
    if length > _MAX_HEADER:
        raise WeightsError(f"{where}: {length} bytes of JSON; no weight file has more than {_MAX_HEADER}")
    text = file.read(offset, length).tobytes()
    if text.count(b'"data_offsets"') > MAX_TENSORS or text.count(b"{") + text.count(b"[") > _MAX_BRACKETS:
        raise WeightsError(f"{where}: lists more than {MAX_TENSORS} tensors; no weight file has so many")
    try:
        content = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where}: damaged header ({one_line(error)}); fetch the file again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{where}: damaged header; fetch the file again")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"'{shown(twice)}' stands there twice")
    return content


def _check_entry(entry: Any, label: str) -> tuple[str, tuple[int, ...], int, int]:
    match entry:
        case {"dtype": str(code), "shape": [*shape], "data_offsets": [begin, end]} if len(entry) == 3:
            if not all(type(n) is int and 0 <= n < _MAX_NUMBER for n in (*shape, begin, end)):
                raise WeightsError(f"{label}: damaged shape or offsets; fetch the file again")
        case _:
            raise WeightsError(f"{label}: damaged entry; fetch the file again")
    if code not in _BITS:
        raise WeightsError(f"{label}: elements of type '{shown(code)}' are not known; save it as F32")
    dtype, bits = _BITS[code]
    check_shape(shape, 8, label)
    if math.prod(shape) * bits != (end - begin) * 8:
        raise WeightsError(f"{label}: shape {shape} of {code} does not fill {end - begin} bytes; damaged")
    return dtype, tuple(shape), begin, end


def _read_tensor(
    file: RegularFile, offset: int, size: int, dtype: str, shape: tuple[int, ...], label: str
) -> np.ndarray:
    kind = numpy_type(dtype, label)
    return to_array(file.read(offset, size), kind).reshape(shape)
