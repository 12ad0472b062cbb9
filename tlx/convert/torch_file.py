"""List the tensors of a PyTorch checkpoint, of today's zip files and of the files before them, without PyTorch."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tlx.convert.element_types import check_shape, numpy_type, to_array
from tlx.convert.pickle_names import Items, Storage, View
from tlx.convert.source import Format, Source, Tensor
from tlx.convert.unpickle import unpickle
from tlx.errors import WeightsError
from tlx.files.archive import Member
from tlx.files.opening import MAX_TENSORS, RegularFile, check_unpacked, shown

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickle of 0x1950a86a20f9469cfc6c, with which torch.save began its files until 1.6."""

_MAX_PICKLE = 256 << 20
_MAX_DEPTH = 64
_MAX_NAME = 1000
_MAX_VALUES = 1_000_000
_MAX_NAMES = 128 << 20  # characters of all names together


@dataclass(frozen=True)
class _Bytes:
    """Where the bytes of a storage are: how many, and how to read some of them."""

    size: int
    read: Callable[[int, int], np.ndarray]


def read_torch_zip(file: RegularFile, members: dict[str, Member], pickle: str) -> Source:
    """List the tensors of a zip file of torch.save whose pickle is the member `pickle`.

    Names are the keys down to a tensor, joined by dots; whatever is no tensor is among `others`. Raises
    `UnsafeFileError` for a pickle that asks for anything but tensors and containers, `WeightsError` where it is
    damaged or a tensor reaches outside its storage.
    """
    where = shown(file.path)
    root = pickle.removesuffix("data.pkl")
    order = members[root + "byteorder"].read() if root + "byteorder" in members else np.frombuffer(b"little", "u1")
    if order.tobytes() not in (b"little", b"big"):
        raise WeightsError(f"{where}: damaged byte order; fetch the file again")
    if members[pickle].size > _MAX_PICKLE:
        raise WeightsError(f"{where}: a pickle of {members[pickle].size} bytes; no weight file has so large a one")
    tree = unpickle(io.BytesIO(members[pickle].read().tobytes()), members[pickle].size, where)
    prefix = root + "data/"
    stored = {
        name.removeprefix(prefix): _Bytes(member.size, member.read)
        for name, member in members.items()
        if name.startswith(prefix)
    }
    return _source(file, "torch-zip", tree, stored, big_endian=order.tobytes() == b"big")


def read_torch_legacy(file: RegularFile) -> Source:
    """List the tensors of a file of torch.save before 1.6 (or `_use_new_zipfile_serialization=False`).

    Names, others and errors are those of `read_torch_zip`.
    """
    where = shown(file.path)
    storages: list[Storage] = []
    with file.open() as stream:
        _, protocol, system, tree, keys = (
            unpickle(stream, min(file.size - stream.tell(), _MAX_PICKLE), where, storages) for _ in range(5)
        )
        at = stream.tell()
    if protocol != 1001 or not isinstance(system, Items) or type(keys) is not list or len(keys) > MAX_TENSORS:
        raise WeightsError(f"{where}: damaged PyTorch file; fetch it again")
    itemsizes = {storage.key: numpy_type(storage.dtype, where).itemsize for storage in storages}
    stored: dict[str, _Bytes] = {}
    for key in keys:
        count = int.from_bytes(file.read(at, 8).tobytes(), "little", signed=True)
        size = count * itemsizes.get(key, 0) if type(key) is str else -1
        if key not in itemsizes or key in stored or not 0 <= size <= file.size - at - 8:
            raise WeightsError(f"{where}: a storage does not fit into it; it is cut short or damaged: fetch it again")
        stored[key] = _Bytes(size, partial(_read_stretch, file, at + 8))
        at += 8 + size
    return _source(file, "torch-legacy", tree, stored, big_endian=False)


def _read_stretch(file: RegularFile, offset: int, start: int, stop: int) -> np.ndarray:
    return file.read(offset + start, stop - start)


def _source(file: RegularFile, form: Format, tree: Any, stored: dict[str, _Bytes], *, big_endian: bool) -> Source:
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    for name, value in _flatten(tree, shown(file.path)):
        if name in tensors:
            raise WeightsError(f"{shown(file.path)}: two tensors are named '{shown(name)}'")
        if not isinstance(value, View):
            others.append(name)
            continue
        where = f"{shown(file.path)}: tensor '{shown(name)}'"
        tensors[name] = _describe(name, value, stored, where, big_endian)
    return Source(file.path, form, tensors, others=tuple(dict.fromkeys(others)), files=(file.path,))


def _flatten(tree: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield tensors, and the names of what is none, in order; a list of nothing but plain values is one value.

    Containers may stand at several places, even within themselves: what bounds the walk is its depth and length, and
    each is looked through once only.
    """
    left, letters = _MAX_VALUES, _MAX_NAMES
    holding: dict[int, bool] = {}  # by id: all of them live as long as the tree
    waiting: list[tuple[str, int, Any]] = [("", 0, tree)]
    while waiting:
        name, depth, value = waiting.pop()
        if isinstance(value, (Items, list, tuple)) and id(value) not in holding:
            holding[id(value)] = _holds_more(value)
        if not holding.get(id(value)):
            yield name or "tensor", value
            continue
        left -= len(value)
        if depth == _MAX_DEPTH or left < 0 or len(waiting) > _MAX_VALUES:
            raise WeightsError(f"{where}: containers nested too deep or too large; no weight file has such")
        pairs = value if isinstance(value, Items) else enumerate(value)
        children = []
        for key, child in pairs:
            text = key if isinstance(key, str) else repr(key) if isinstance(key, (int, float, bytes)) else "?"
            if len(name) + len(text) > _MAX_NAME:
                raise WeightsError(f"{where}: a name of more than {_MAX_NAME} characters; no weight file has such")
            letters -= len(name) + len(text)
            if letters < 0:
                raise WeightsError(f"{where}: names of {_MAX_NAMES} characters together; no weight file has such")
            children.append((f"{name}.{text}" if name else text, depth + 1, child))
        waiting += reversed(children)


def _holds_more(container: Items | list[Any] | tuple[Any, ...]) -> bool:
    if isinstance(container, Items):
        return len(container) > 0
    return any(isinstance(value, (Items, list, tuple, View)) for value in container)


def _describe(name: str, view: View, stored: dict[str, _Bytes], where: str, big_endian: bool) -> Tensor:
    """Describe a tensor after checking that it stays within its storage; of one that cannot be read, the reason."""

    def listed(read: Callable[[], np.ndarray]) -> Tensor:
        return Tensor(name, view.size, view.dtype, read)

    if view.storage is None or view.refused:
        return listed(partial(_refuse, f"{where}: {view.refused}"))
    try:
        dtype, stored_dtype = numpy_type(view.dtype, where), numpy_type(view.storage.dtype, where)
    except WeightsError as error:
        return listed(partial(_refuse, str(error)))
    if view.storage.key not in stored:
        raise WeightsError(f"{where}: its storage '{shown(view.storage.key)}' is missing; fetch the file again")
    content = stored[view.storage.key]
    _, skipped, count = view.storage.view or ("", 0, view.storage.count)
    room = (skipped + count) * stored_dtype.itemsize  # bytes of the storage that the view may use
    first = skipped * stored_dtype.itemsize + view.offset * dtype.itemsize
    reach = sum((n - 1) * step for n, step in zip(view.size, view.stride, strict=False)) + 1
    if (
        view.storage.count * stored_dtype.itemsize != content.size
        or room > content.size
        or len(view.size) != len(view.stride)
        or (0 not in view.size and first + reach * dtype.itemsize > room)
    ):
        raise WeightsError(f"{where}: reaches outside its storage; the file is damaged: fetch it again")
    check_shape(view.size, dtype.itemsize, where)
    check_unpacked(math.prod(view.size) * dtype.itemsize, content.size, where)
    if 0 in view.size:
        return listed(partial(np.zeros, view.size, dtype))
    steps = tuple(step * dtype.itemsize if n > 1 else 0 for n, step in zip(view.size, view.stride, strict=True))
    last = first + reach * dtype.itemsize
    return listed(lambda: _read_strided(content.read(first, last), dtype, big_endian, view.size, steps))


def _read_strided(
    content: np.ndarray, dtype: np.dtype, big_endian: bool, shape: tuple[int, ...], steps: tuple[int, ...]
) -> np.ndarray:
    row = to_array(content, dtype, big_endian=big_endian)
    array = np.lib.stride_tricks.as_strided(row, shape, steps, writeable=False)
    return row.reshape(shape) if array.flags.c_contiguous else np.ascontiguousarray(array)


def _refuse(message: str) -> np.ndarray:
    raise WeightsError(message)
