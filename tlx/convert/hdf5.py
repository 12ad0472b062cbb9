"""List the datasets of an HDF5 file and read them, following nothing that leads out of it.

libhdf5 lists groups and types. Of datasets it reads only those that stand within an object's header: what has an
address is read at that address and unpacked here, so that no filter or plugin of libhdf5 meets the file's data.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tlx.convert.element_types import check_shape, is_array_type, numpy_type, to_array
from tlx.convert.hdf5_guard import GuardedWindow, check_object, check_superblock
from tlx.errors import TlxError, UnsafeFileError, WeightsError
from tlx.files.opening import MAX_TENSORS, Stretch, check_unpacked, one_line, shown

Names = tuple[str, ...]
"""The names of the links that lead to an object; a name may hold anything but a slash and is never a file's."""

_FAMILIES = {0: "integer", 1: "float", 2: "time", 3: "text", 4: "bits", 6: "record", 7: "reference", 8: "enumeration"}
_MAX_DEPTH = 64
_MAX_TEXT = 64 << 20  # bytes of one attribute: the configuration of a model
_MAX_CHUNKS = 1_000_000


@dataclass(frozen=True)
class Dataset:
    """An array of the file: its shape, the name of its type, and how to read it (see `Tensor.read`)."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Tree:
    """What an HDF5 file holds: `datasets`, and of each group and dataset those attributes that are text."""

    datasets: dict[Names, Dataset]
    texts: dict[Names, dict[str, tuple[str, ...]]]


def read_tree(content: Stretch, where: str) -> Tree:
    """List an HDF5 file without reading its datasets.

    Raises `UnsafeFileError` for datasets that are stored in other files or views of others, for links that are not
    plain, and for sizes that no real weights have; `WeightsError` for a damaged file and for datasets never written.
    """
    import h5py

    datasets: dict[Names, Dataset] = {}
    texts: dict[Names, dict[str, tuple[str, ...]]] = {}
    with _opened(content, where) as root:
        check_object(content, h5py.h5o.get_info(root).addr, f"{where}: '/'")
        seen: set[tuple[int, int]] = set()
        waiting: list[tuple[Names, Any]] = [((), root)]
        while waiting:
            path, node = waiting.pop()
            label = f"{where}: '{shown('/'.join(path))}'"
            texts[path] = _read_texts(node, content.size, label)
            if isinstance(node, h5py.h5d.DatasetID):
                datasets[path] = _describe(node, texts[path], content, path, where)
                continue
            if not isinstance(node, h5py.h5g.GroupID):
                raise WeightsError(f"{label}: neither a group nor a dataset; no weight file has such")
            info = h5py.h5o.get_info(node)
            if (info.fileno, info.addr) in seen:
                raise WeightsError(f"{label}: a group that several links lead to; no weight file has such")
            seen.add((info.fileno, info.addr))
            children = _children(node, content, path, where)
            if len(texts) + len(waiting) + len(children) > MAX_TENSORS or len(path) == _MAX_DEPTH:
                raise WeightsError(f"{label}: more than {MAX_TENSORS} objects or {_MAX_DEPTH} levels of groups")
            waiting += [((*path, name), child) for name, child in reversed(children)]
    return Tree(datasets, texts)


@contextmanager
def _opened(content: Stretch, where: str) -> Iterator[Any]:
    """Open the root group; whatever h5py raises becomes one `WeightsError`."""
    import h5py

    check_superblock(content, where)
    with content.file.open() as stream:
        window = GuardedWindow(stream, content.offset, content.size)
        try:
            with h5py.File(window, "r") as file:
                yield file["/"].id
        except TlxError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
            reason = one_line(window.failure or error)
            raise WeightsError(f"{where}: cut short or damaged ({reason}); fetch it again") from error


def _children(group: Any, content: Stretch, path: Names, where: str) -> list[tuple[str, Any]]:
    """Open what a group links to; only hard links lead nowhere but into the file."""
    import h5py

    names: list[bytes] = []

    def note(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) > MAX_TENSORS else None  # anything but None ends the walk

    group.links.iterate(note)
    children = []
    for name in names:
        label = f"{where}: '{shown('/'.join((*path, _decode(name))))}'"
        link = group.links.get_info(name)
        if link.type != h5py.h5l.TYPE_HARD:
            has_target = link.type in (h5py.h5l.TYPE_SOFT, h5py.h5l.TYPE_EXTERNAL)
            target = f" to {shown(repr(group.links.get_val(name)))}" if has_target else ""
            raise UnsafeFileError(f"{label}: a link{target}, which is not followed; refused")
        if name in (b"", b".") or b"/" in name:
            raise UnsafeFileError(f"{label}: no name of a link; refused")
        check_object(content, link.u, label)
        children.append((_decode(name), h5py.h5o.open(group, name)))
    return children


def _read_texts(node: Any, size: int, label: str) -> dict[str, tuple[str, ...]]:
    """Read those attributes of an object that are text, none larger than the file of `size` bytes."""
    import h5py

    texts: dict[str, tuple[str, ...]] = {}
    for index in range(min(h5py.h5a.get_num_attrs(node), MAX_TENSORS)):
        attribute = h5py.h5a.open(node, index=index)
        kind, space = attribute.get_type(), attribute.get_space()
        name = _decode(attribute.name)
        is_null = space.get_simple_extent_type() == h5py.h5s.NULL
        count = 0 if is_null else math.prod(attribute.shape)
        if count == 0:
            texts[name] = ()
        elif kind.get_class() == h5py.h5t.STRING:
            if count > MAX_TENSORS or count * kind.get_size() > min(_MAX_TEXT, size):
                raise WeightsError(f"{label}: attribute '{shown(name)}' is too large; no weight file has such")
            values = np.zeros(attribute.shape, kind.dtype)
            attribute.read(values)
            texts[name] = tuple(_decode(value) for value in values.reshape(-1).tolist())
    return texts


def _decode(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def _describe(dataset: Any, texts: dict[str, tuple[str, ...]], content: Stretch, path: Names, where: str) -> Dataset:
    """Describe a dataset that `check_object` has let pass, after checking what it claims."""
    import h5py

    label = f"{where}: tensor '{shown('/'.join(path))}'"
    creation = dataset.get_create_plist()
    layout = creation.get_layout()
    if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise WeightsError(f"{label}: no stored data; save it again")
    shape, kind = dataset.shape, dataset.get_type()
    itemsize = kind.get_size()
    check_shape(shape, itemsize, label)
    dtype, big_endian = _element_type(kind, texts)
    if not is_array_type(dtype):  # the sizes of texts and the like mean something else; reading one says what it is
        return Dataset(shape, dtype, partial(_read, partial(np.empty, 0, np.uint8), dtype, False, shape, label))
    size, stored = math.prod(shape) * itemsize, dataset.get_storage_size()
    if size and not stored:
        raise WeightsError(f"{label}: no stored data, it was never written; save it again")
    check_unpacked(size, stored, label)
    read: Callable[[], np.ndarray]
    if not size:
        read = partial(np.empty, 0, np.uint8)
    elif layout == h5py.h5d.CONTIGUOUS:
        offset = dataset.get_offset()
        if offset is None or stored != size or offset + size > content.size:
            raise WeightsError(f"{label}: {size} bytes expected but not there; the file is damaged: fetch it again")
        read = partial(content.read, offset, size)
    else:
        if layout == h5py.h5d.CHUNKED:
            check_unpacked(math.prod(creation.get_chunk()) * itemsize, max(size, stored), label)
            _filters(creation, label)
        read = partial(_read_through, content, path, where, label)
    return Dataset(shape, dtype, partial(_read, read, dtype, big_endian, shape, label))


def _element_type(kind: Any, texts: dict[str, tuple[str, ...]]) -> tuple[str, bool]:
    """Name the type of a dataset's elements, and say whether they are stored with the highest byte first."""
    import h5py

    family = kind.get_class()
    if family == h5py.h5t.OPAQUE:  # h5py writes types that it does not know so; Keras adds the name of its one
        is_bfloat16 = kind.get_size() == 2 and texts.get("dtype") == ("bfloat16",)
        return ("bfloat16" if is_bfloat16 else f"void{8 * kind.get_size()}"), False
    if family in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
        try:
            dtype = kind.dtype
            if h5py.h5t.py_create(dtype).equal(kind) and (family != h5py.h5t.ENUM or dtype == np.bool_):
                return dtype.newbyteorder("=").name, dtype.byteorder == ">"
        except (TypeError, ValueError):  # a float that NumPy has not
            pass
    return _FAMILIES.get(family, "unknown"), False


def _read(
    read: Callable[[], np.ndarray], dtype: str, big_endian: bool, shape: tuple[int, ...], label: str
) -> np.ndarray:
    native = numpy_type(dtype, label)
    return to_array(read(), native, big_endian=big_endian).reshape(shape)


def _filters(creation: Any, label: str) -> list[int]:
    """List a dataset's filters in the order in which they were applied."""
    import h5py

    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    if not set(filters) <= {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}:
        raise WeightsError(f"{label}: packed by filters {filters}, of which only gzip is read (h5repack -f NONE)")
    return filters


def _read_through(content: Stretch, path: Names, where: str, label: str) -> np.ndarray:
    """Open the file again to read a dataset that is in pieces or within its own header; return its bytes."""
    import h5py

    with _opened(content, where) as node:
        for name in path:
            node = h5py.h5o.open(node, name.encode("utf-8", "surrogateescape"))
        creation = node.get_create_plist()
        elements = np.empty(node.shape, f"V{node.get_type().get_size()}")
        if creation.get_layout() == h5py.h5d.CHUNKED:
            chunks: list[Any] = []
            node.chunk_iter(lambda chunk: chunks.append(chunk) if len(chunks) <= _MAX_CHUNKS else True)
            filters = _filters(creation, label)
            _join(elements, creation.get_chunk(), filters, chunks, content, label)
        else:
            node.read(h5py.h5s.ALL, h5py.h5s.ALL, elements, node.get_type())
    return elements.reshape(-1).view(np.uint8)


def _join(
    elements: np.ndarray, step: tuple[int, ...], filters: list[int], chunks: list[Any], content: Stretch, label: str
) -> None:
    """Read each chunk, which stand on a grid of `step`, and put it into its place."""
    corners = {tuple(chunk.chunk_offset): chunk for chunk in chunks}
    for corner in itertools.product(*(range(0, n, by) for n, by in zip(elements.shape, step, strict=True))):
        if corner not in corners:
            raise WeightsError(f"{label}: no stored data at {corner}; save it again")
        chunk = corners[corner]
        packed = content.read(chunk.byte_offset, chunk.size)
        row = _unpack(packed, chunk.filter_mask, filters, math.prod(step), elements.itemsize, label)
        place = tuple(slice(at, at + by) for at, by in zip(corner, step, strict=True))
        target = elements[place]
        target[...] = row.view(elements.dtype).reshape(step)[tuple(slice(n) for n in target.shape)]


def _unpack(content: np.ndarray, skipped: int, filters: list[int], count: int, itemsize: int, label: str) -> np.ndarray:
    """Undo the filters of a chunk of `count` elements, those left out that the bits of `skipped` tell."""
    import h5py

    size = count * itemsize
    for index, name in reversed(list(enumerate(filters))):
        if skipped >> index & 1:
            continue
        if name == h5py.h5z.FILTER_DEFLATE:
            try:
                inflated = zlib.decompressobj().decompress(content.data, size + 1)
            except zlib.error as error:
                raise WeightsError(f"{label}: damaged ({one_line(error)}); fetch the file again") from error
            content = np.frombuffer(inflated, np.uint8)
        elif content.size == size:
            content = np.ascontiguousarray(content.reshape(itemsize, count).T).reshape(-1)
    if content.size != size:
        raise WeightsError(f"{label}: a chunk of {content.size} bytes, expected {size}; damaged")
    return content
